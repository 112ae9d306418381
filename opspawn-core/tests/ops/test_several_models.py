"""An agent with several models, killed before and after each write: no recorded answer is asked for again."""

from __future__ import annotations

from typing import Any

from opspawn import App, tool
from opspawn.agentkit import BoundModel, FallbackModel, FunctionModel
from opspawn.agentkit.agent_run import AgentRun
from opspawn.contracts.model import Message, ModelRequest, ToolCall
from opspawn.contracts.store import Task
from opspawn.errors import ModelError
from opspawn.host import Host
from opspawn.testing import crash_everywhere, virtual_time


@virtual_time
async def test_a_run_goes_on_with_the_model_that_answered_and_pays_for_no_answer_twice() -> None:
    lives: list[list[str]] = []

    def begin() -> App:
        asked: list[str] = []
        lives.append(asked)

        def down(request: ModelRequest) -> str:
            asked.append(f"first {len(request.messages)}")
            raise ModelError("Down.", error_type="denied")

        def up(request: ModelRequest) -> Any:
            asked.append(f"second {len(request.messages)}")
            return "Found." if len(request.messages) > 1 else ToolCall("call_1", "search", {"word": "a"})

        @tool(effect="read")
        async def search(word: str) -> str:
            """Search."""
            return f"{word} is here"

        async def work(ctx: Any) -> Any:
            models = [BoundModel(FunctionModel(down), "m", {}, "a:m"), BoundModel(FunctionModel(up), "m", {}, "b:m")]
            model = BoundModel(FallbackModel(models, tries=1), "")
            agent = AgentRun(ctx, name="a", instructions="", model=model, tools=[search], max_steps=3)
            messages = [Message("user", "Where?")]
            said = await agent.think(messages)
            results = await agent.act(said.tool_calls)
            messages += [said.message(), *(result.message() for result in results)]
            return (await agent.think(messages)).text

        return App(functions={"work": work})

    async def scenario(host: Host) -> Task:
        task = await host.submit("function/work")
        return await host.wait(task.id, 1e6)

    runs = await crash_everywhere(begin, scenario)

    journal = runs[0].journals[runs[0].tasks[0].id]
    answers = [event.data["result"] for event in journal if event.type == "step.done" and event.data["kind"] == "think"]
    assert (runs[0].answer[1], [answer["source"] for answer in answers]) == ("Found.", ["b:m", "b:m"])
    for asked in lives:
        # A crash repeats at most the one call that was in flight; the first model is never asked in mid-conversation.
        assert asked.count("second 1") + asked.count("second 3") <= 3
        assert "first 3" not in asked
