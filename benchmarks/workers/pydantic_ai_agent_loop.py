"""pydantic-ai: an agent on its own FunctionModel, which answers from the script."""

from __future__ import annotations

import asyncio
import json

from _common import Script, Settings, measure_loops, report
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage, UsageLimits

settings = Settings()
script = Script(settings.steps)


async def look_up(number: int, note: str) -> str:
    """Look up an entry.

    Args:
        number: which one.
        note: why.
    """
    return script.result(number)


async def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    done = (len(messages) - 1) // 2
    arguments = script.arguments(done)
    usage = RequestUsage(input_tokens=10, output_tokens=5)  # Given, so that it is not estimated from the whole history.
    if arguments is None:
        return ModelResponse(parts=[TextPart(script.answer(str(messages[-1].parts[-1].content)))], usage=usage)
    call = ToolCallPart("look_up", json.dumps(arguments), tool_call_id=f"c{done}")
    return ModelResponse(parts=[call], usage=usage)


async def main() -> None:
    agent = Agent(FunctionModel(model), tools=[look_up])
    limits = UsageLimits(request_limit=None)

    async def run() -> object:
        return (await agent.run("go", usage_limits=limits)).output

    summary, figures = await measure_loops(settings, script, run)
    report(summary, figures, ("pydantic-ai-slim", "pydantic"))


asyncio.run(main())
