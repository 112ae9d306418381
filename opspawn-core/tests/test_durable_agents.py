"""Agents as durable tasks: typed results, children, handoffs, sessions and dependencies, through any crash."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from opspawn import Agent, App, ModelRetry, ToolContext, tool
from opspawn.agentkit.content import opening
from opspawn.contracts.model import Message, ModelRequest, ToolCall
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.run import AgentContext, RunContext
from opspawn.errors import AppError
from opspawn.host import Host
from opspawn.ops.run.executor import WorkerOptions
from opspawn.testing import ScriptedModel, crash_everywhere, virtual_time


class Loop:
    """The least that a planner is."""

    async def run(self, context: AgentContext) -> PlannerResult:
        messages = opening(context)
        while True:
            response = await context.think(messages)
            if not response.tool_calls:
                return PlannerResult(response.text)
            messages.append(response.message())
            messages += [result.message() for result in await context.act(response.tool_calls)]


class Sum(BaseModel):
    total: int


@tool(effect="read")
async def whose(ctx: ToolContext) -> str:
    """Say whose it is."""
    return str(ctx.deps)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@asynccontextmanager
async def opened(made: App) -> AsyncIterator[Host]:
    options = WorkerOptions(poll_s=0.05, drain_s=5.0)
    async with Host.open(made, options=options, sections={"sqlite": {"path": ":memory:"}}) as host:
        yield host


async def result_of(host: Host, input: Any, **options: Any) -> Any:
    task = await host.wait((await host.submit("agent/chief", input, **options)).id, 20)
    assert task.error is None
    return task.result


def words_of(request: ModelRequest) -> list[str]:
    return [message.content for message in request.messages]


async def test_a_typed_answer_is_the_tasks_result_as_json() -> None:
    model = ScriptedModel([ToolCall("1", "final_answer", {"total": "x"}), ToolCall("2", "final_answer", {"total": 3})])
    async with opened(App(agents=[Agent("chief", model=model, planner=Loop(), output=Sum)])) as host:
        assert await result_of(host, "How much?") == {"total": 3}


async def test_an_agent_that_is_asked_is_a_child_task_and_part_of_the_app_by_itself() -> None:
    finder = Agent("finder", model=ScriptedModel(["Found."]), planner=Loop())
    model = ScriptedModel([ToolCall("1", "finder", {"input": "Look."}), "Done."])
    async with opened(App(agents=[Agent("chief", model=model, planner=Loop(), tools=[finder])])) as host:
        assert await result_of(host, "Go.") == "Done."
        assert [agent.name for agent in host.agents()] == ["chief", "finder"]

    assert model.requests[1].messages[-1] == Message("tool", "Found.", (), "1")


async def test_a_session_goes_on_with_what_was_said_in_it() -> None:
    model = ScriptedModel([ToolCall("1", "whose", {}), "Ada's.", "I said: Ada's.", "New."])
    chief = Agent("chief", model=model, planner=Loop(), tools=[whose], instructions="Be brief.")
    async with opened(App(agents=[chief], deps=lambda: "Ada")) as host:
        await result_of(host, "Whose?", session="talk")
        await result_of(host, "Again?", session="talk")
        await result_of(host, "Hello?", session="other")

    assert words_of(model.requests[2]) == ["Be brief.", "Whose?", "", "Ada", "Ada's.", "Again?"]
    assert words_of(model.requests[3]) == ["Be brief.", "Hello?"]


async def test_a_child_does_not_take_part_in_the_conversation_of_its_session() -> None:
    inner = ScriptedModel(["Found."] * 2)
    finder = Agent("finder", model=inner, planner=Loop())
    asks = ToolCall("1", "finder", {"input": "Look."})
    chief = Agent("chief", model=ScriptedModel([asks, "A.", asks, "B."]), planner=Loop(), tools=[finder])
    async with opened(App(agents=[chief])) as host:
        await result_of(host, "Go.", session="talk")
        await result_of(host, "Go on.", session="talk")

    assert words_of(inner.requests[1]) == ["Look."]


async def test_dependencies_are_made_once_in_a_process_for_agents_and_functions_and_closed() -> None:
    class Made:
        def __init__(self) -> None:
            made.append(self)

        def __str__(self) -> str:
            return "Ada"

        async def aclose(self) -> None:
            closed.append(self)

    made: list[Made] = []
    closed: list[Made] = []

    async def work(ctx: RunContext) -> str:
        return f"{ctx.deps} works"

    model = ScriptedModel([ToolCall("1", "whose", {}), "Done."])
    chief = Agent("chief", model=model, planner=Loop(), tools=[whose], instructions="You help {deps}.")
    async with opened(App(agents=[chief], functions={"work": work}, deps=Made)) as host:
        await result_of(host, "Go.")
        ended = await host.wait((await host.submit("function/work")).id, 20)

    assert words_of(model.requests[1])[0] == "You help Ada."
    assert (model.requests[1].messages[-1].content, ended.result) == ("Ada", "Ada works")
    assert len(made) == 1


def test_what_cannot_make_dependencies_is_refused() -> None:
    with pytest.raises(AppError, match="App has deps='Ada'"):
        App(deps="Ada")  # type: ignore[arg-type]


def test_two_agents_of_one_name_are_refused_wherever_they_stand() -> None:
    one, two = Agent("finder"), Agent("finder")

    with pytest.raises(AppError, match="Two agents are named 'finder'"):
        App(agents=[Agent("chief", tools=[one]), two])


@virtual_time
async def test_a_run_ends_alike_wherever_it_crashes_and_no_model_is_asked_twice() -> None:
    """Two runs of a session at once: instructions from a function, a child, a validator, corrections and a handoff."""
    asked: list[str] = []
    checked: list[Sum] = []
    calls: list[int] = []

    def begin() -> App:
        asked.clear()
        calls.append(len(checked))
        checked.clear()

        def once(script: list[Any]) -> ScriptedModel:
            def say(request: ModelRequest) -> Any:
                turn = sum(message.role == "assistant" for message in request.messages)
                asked.append(f"{words_of(request)[0][:5]} {len(request.messages)}")
                return script[min(turn, len(script) - 1)]

            return ScriptedModel(say)

        def enough(answer: Sum) -> Sum:
            checked.append(answer)
            if answer.total < 3:
                raise ModelRetry("More.")
            return answer

        def count(request: ModelRequest) -> ToolCall:
            tries = sum(message.is_error for message in request.messages)
            asked.append(f"Bill. {len(request.messages)}")
            return ToolCall(str(tries), "final_answer", {"total": tries + 1})

        finder = Agent("finder", model=once(["Found."]), planner=Loop())
        billing = Agent(
            "billing",
            model=ScriptedModel(count),
            planner=Loop(),
            output=Sum,
            output_validators=[enough],
            instructions="Bill.",
        )
        script = [ToolCall("1", "finder", {"input": "Look."}), ToolCall("2", "transfer_to_billing", {})]
        chief = Agent(
            "chief",
            model=once([*script, script[1], script[1]]),
            planner=Loop(),
            tools=[finder],
            handoffs=[billing],
            instructions=["Sort.", lambda: str(len(asked) >= 0)],
        )
        return App(agents=[chief])

    async def scenario(host: Any) -> Any:
        tasks = [await host.submit("agent/chief", words, session="talk") for words in ("One.", "Two.")]
        last = await host.submit("agent/chief", "Three.", session="talk", delay_s=60)
        return [(await host.wait(task.id, 1e6)).result for task in (*tasks, last)]

    runs = await crash_everywhere(begin, scenario)

    assert runs[0].answer == [{"total": 3}] * 3
    assert len(runs) > 20
    # A validator may be asked twice about what was in flight, of two tasks; what it said once is recorded.
    assert calls[1] == 9
    assert max(calls[2:]) <= 9 + 2
    for run in runs:
        for task, events in run.journals.items():
            keys = [event.data["key"] for event in events if event.type == "step.done"]
            assert len(keys) == len(set(keys)), (run.write, task)
            handoffs = [event for event in events if event.type == "agent.handoff"]
            assert len(handoffs) <= 1
