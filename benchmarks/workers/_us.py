"""Our own agent of the agent-loop benchmark, shared by the worker in memory and the durable one."""

from __future__ import annotations

from _common import Script

from opspawn import Agent, tool
from opspawn.contracts.model import ModelRequest, ModelResponse, OnDelta, ToolCall, Usage
from opspawn_planner_react.planner import ReactPlanner


class FakeModel:
    """A model provider that answers from the script, at once."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelResponse:
        done = sum(message.role == "tool" for message in request.messages)
        usage = Usage(input_tokens=10, output_tokens=5, requests=1)
        arguments = self._script.arguments(done)
        if arguments is None:
            return ModelResponse(text=self._script.answer(request.messages[-1].content), usage=usage)
        call = ToolCall(f"c{done}", "look_up", arguments)
        return ModelResponse(tool_calls=(call,), usage=usage, finish_reason="tool_calls")

    async def aclose(self) -> None:
        """There is nothing to close."""


def agent(script: Script) -> Agent:
    """The agent: a scripted model, the ReAct planner, and one tool whose arguments are validated."""

    @tool(effect="read")
    async def look_up(number: int, note: str) -> str:
        """Look up an entry.

        Args:
            number: which one.
            note: why.
        """
        return script.result(number)

    return Agent(
        "bench",
        model=FakeModel(script),
        planner=ReactPlanner(),
        tools=[look_up],
        instructions="",
        max_steps=script.steps + 1,
    )
