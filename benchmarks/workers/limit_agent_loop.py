"""The limit: the loop that every framework has inside, and nothing else but the validation of the arguments."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from _common import Script, Settings, measure_loops, report
from pydantic import BaseModel

settings = Settings()
script = Script(settings.steps)


class Arguments(BaseModel):
    number: int
    note: str


async def look_up(number: int, note: str) -> str:
    return script.result(number)


async def model(messages: list[dict[str, Any]]) -> dict[str, Any]:
    done = (len(messages) - 1) // 2
    arguments = script.arguments(done)
    if arguments is None:
        return {"role": "assistant", "content": script.answer(messages[-1]["content"])}
    return {"role": "assistant", "call": {"id": f"c{done}", "name": "look_up", "arguments": json.dumps(arguments)}}


async def run() -> object:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "go"}]
    while True:
        answer = await model(messages)
        messages.append(answer)
        if (call := answer.get("call")) is None:
            return answer["content"]
        arguments = Arguments.model_validate_json(call["arguments"])
        result = await look_up(arguments.number, arguments.note)
        messages.append({"role": "tool", "id": call["id"], "content": result})


async def main() -> None:
    summary, figures = await measure_loops(settings, script, run)
    report(summary, figures, ("pydantic",))


asyncio.run(main())
