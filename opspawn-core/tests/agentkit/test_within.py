"""What a tool does of its run in the middle of its call: tell how far it is, and have a model asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from opspawn import Agent, App, Budget, tool
from opspawn.agentkit import FunctionModel
from opspawn.agentkit.bound import BoundModel
from opspawn.contracts.model import Message, ModelRequest, ModelResponse, ToolCall, Usage
from opspawn.contracts.policy import Considered, Verdict
from opspawn.contracts.run_events import ModelAnswered, Progress, RunEnded
from opspawn.contracts.tool import ModelAsk, ToolContext
from opspawn.errors import BudgetExceeded
from opspawn.host import Host
from opspawn.testing import LoopPlanner, ScriptedModel

HELLO = (Message("user", "Hello?"),)


def agent_of(*tools: Any, calls: int = 1, **options: Any) -> Agent:
    script = [*(ToolCall(f"c{n}", tools[0].name, {}) for n in range(calls)), "done"]
    return Agent("helper", model=ScriptedModel(script), planner=LoopPlanner(), tools=tools, **options)


@tool(effect="read")
async def count(context: ToolContext) -> str:
    """Count."""
    for number in range(1000):
        context.progress("counting", done=number + 1, total=1000)
    return "counted"


@tool(effect="read", sandbox="thread")
def count_aside(context: ToolContext) -> str:
    """Count in a thread."""
    context.progress("halfway", done=1, total=2)
    return "counted"


async def test_a_tool_is_heard_of_seldom_and_at_its_end_always() -> None:
    events: list[Any] = []

    await agent_of(count).run("go", on_event=events.append)

    told = [one for one in events if isinstance(one, Progress)]
    assert (told[0].tool, told[0].call, told[0].note, told[0].done) == ("count", "c0", "counting", 1)
    assert told[-1].done == 1000
    assert len(told) < 500


async def test_a_tool_in_a_thread_is_heard_of_too() -> None:
    events: list[Any] = []

    await agent_of(count_aside).run("go", on_event=events.append)

    assert [one.note for one in events if isinstance(one, Progress)] == ["halfway"]


def waits_for(going: asyncio.Event) -> Any:
    @tool(effect="read")
    async def wait(context: ToolContext) -> str:
        """Wait."""
        while not going.is_set():
            context.progress("waiting")
            await asyncio.sleep(0.01)
        return "waited"

    return wait


async def test_of_a_durable_run_progress_is_live_and_never_journaled() -> None:
    going = asyncio.Event()

    async with Host.open(App(agents=[agent_of(waits_for(going))]), sections={"sqlite": {"path": ":memory:"}}) as host:
        task = await host.submit("agent/helper", "go")
        async for event in host.stream(task.id):
            if isinstance(event, Progress):
                heard = event
                going.set()
        kept = [event.type for event in await host.journal(task.id)]

    assert (heard.tool, heard.note, heard.id) == ("wait", "waiting", None)
    assert "task.progress" not in kept


async def test_of_a_run_within_progress_is_heard_under_its_own_id() -> None:
    going = asyncio.Event()

    inner = agent_of(waits_for(going))
    model = ScriptedModel([ToolCall("a", "helper", {"input": "go"}), "done"])
    outer = Agent("boss", model=model, planner=LoopPlanner(), tools=[inner])
    async with Host.open(App(agents=[inner, outer]), sections={"sqlite": {"path": ":memory:"}}) as host:
        task = await host.submit("agent/boss", "go")
        async for event in host.stream(task.id):
            if isinstance(event, Progress):
                going.set()
                heard = event

    assert heard.run != task.id
    assert heard.tool == "wait"


# -- models ------------------------------------------------------------------------------------------------------------


def answering(asked: list[ModelRequest]) -> Callable[[str | None], BoundModel]:
    def answer(request: ModelRequest) -> ModelResponse:
        asked.append(request)
        return ModelResponse("Hi.", usage=Usage(10, 5, requests=1))

    provider = FunctionModel(answer)
    return lambda spec: BoundModel(provider, "small", {"seed": 1}, spec or "")


class Kit:
    """As much of a kit as a run in memory needs to ask models."""

    def __init__(self, asked: list[ModelRequest]) -> None:
        self.model = answering(asked)
        self.memories = self.rates = None
        self.policies = None


def asking(**options: Any) -> Any:
    @tool(effect="read")
    async def ask(context: ToolContext) -> str:
        """Ask."""
        assert context.think is not None
        made = ModelAsk("greeting", "acme:small", HELLO, {"max_tokens": 7}, **options)
        return (await context.think(made)).text

    return ask


async def run(agent: Agent, asked: list[ModelRequest], **options: Any) -> tuple[Any, list[Any], list[str]]:
    events: list[Any] = []
    given: Any = Kit(asked)
    result = await agent.run("go", kit=given, on_event=events.append, **options)
    said = [one.content for one in result.messages if one.role == "tool"]
    return result, events, said


async def test_a_model_call_of_a_tool_is_one_of_the_run_and_counted_there() -> None:
    asked: list[ModelRequest] = []

    result, events, said = await run(agent_of(asking()), asked)

    [request] = asked
    assert said == ["Hi."]
    assert (request.model, request.messages, request.settings) == ("small", HELLO, {"seed": 1, "max_tokens": 7})
    own = [one.usage.input_tokens for one in events if isinstance(one, ModelAnswered) and one.purpose is None]
    assert [one.purpose for one in events if isinstance(one, ModelAnswered)].count("greeting") == 1
    assert result.usage.input_tokens == sum(own) + 10
    assert next(one for one in events if isinstance(one, RunEnded)).usage.input_tokens == sum(own) + 10


@pytest.mark.parametrize(
    ("limit", "words"), [({"most_calls": 1}, "1 calls in a run"), ({"most_tokens": 12}, "12 tokens in a run")]
)
async def test_for_one_purpose_only_so_much_is_asked_in_a_run(limit: dict[str, int], words: str) -> None:
    asked: list[ModelRequest] = []

    _, _, said = await run(agent_of(asking(**limit), calls=2), asked)

    assert said[-1] == f"The budget of greeting is used up: {words}."
    assert len(asked) == limit.get("most_calls", 0)


async def test_its_own_policy_decides_on_the_words_and_the_budget_of_the_run_holds() -> None:
    seen: list[Considered] = []

    class No:
        name = "no"

        def decide(self, considered: Considered) -> Verdict:
            seen.append(considered)
            return Verdict("deny", "Not now.")

    asked: list[ModelRequest] = []
    _, _, said = await run(agent_of(asking(decider=No())), asked)
    assert "Not now." in said[0]
    assert seen[0].arguments["messages"] == [{"role": "user", "content": "Hello?"}]

    with pytest.raises(BudgetExceeded):
        await run(agent_of(asking(), budget=Budget(requests=1)), asked)
    assert asked == []


async def test_where_no_model_can_be_had_the_tool_is_told_so() -> None:
    result = await agent_of(asking()).run("go")

    assert [one.content for one in result.messages if one.role == "tool"] == ["No model can be asked here."]
