"""agno: an agent with a model class of our own that answers from the script; telemetry off, no database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from _common import Script, Settings, measure_loops, report
from agno.agent import Agent
from agno.models.base import Model
from agno.models.message import Message
from agno.models.response import ModelResponse

settings = Settings()
script = Script(settings.steps)


async def look_up(number: int, note: str) -> str:
    """Look up an entry.

    Args:
        number: which one.
        note: why.
    """
    return script.result(number)


@dataclass
class ScriptedModel(Model):
    id: str = "scripted"
    name: str = "Scripted"
    provider: str = "Bench"

    async def ainvoke(self, messages: list[Message], **kwargs: Any) -> ModelResponse:
        done = sum(message.role == "tool" for message in messages)
        arguments = script.arguments(done)
        if arguments is None:
            return ModelResponse(role="assistant", content=script.answer(str(messages[-1].content)))
        function = {"name": "look_up", "arguments": json.dumps(arguments)}
        return ModelResponse(
            role="assistant", tool_calls=[{"id": f"c{done}", "type": "function", "function": function}]
        )

    def invoke(self, *args: Any, **kwargs: Any) -> ModelResponse:
        raise NotImplementedError("The benchmark uses ainvoke only.")

    def invoke_stream(self, *args: Any, **kwargs: Any) -> Iterator[ModelResponse]:
        raise NotImplementedError("The benchmark uses ainvoke only.")

    def ainvoke_stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ModelResponse]:
        raise NotImplementedError("The benchmark uses ainvoke only.")

    def _parse_provider_response(self, response: Any, **kwargs: Any) -> ModelResponse:
        raise NotImplementedError("ainvoke answers in agno's own form.")

    def _parse_provider_response_delta(self, response: Any) -> ModelResponse:
        raise NotImplementedError("ainvoke answers in agno's own form.")


async def main() -> None:
    agent = Agent(model=ScriptedModel(), tools=[look_up], telemetry=False)

    async def run() -> object:
        return (await agent.arun("go")).content

    summary, figures = await measure_loops(settings, script, run)
    report(summary, figures, ("agno", "pydantic"))


asyncio.run(main())
