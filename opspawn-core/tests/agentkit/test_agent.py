"""An agent runs with nothing but a model: no server, no store, no plugin where everything is given as an object."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from opspawn.agentkit import Agent, BoundModel, Context, Kit, RunResult, tool
from opspawn.agentkit.memory_log import MemoryLog
from opspawn.contracts.model import Message, ToolCall, Usage
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.run import AgentContext
from opspawn.contracts.run_events import RunEnded, RunEvent
from opspawn.contracts.tool import ToolContext
from opspawn.errors import ConfigError, InvalidInput, ModelError
from opspawn.testing import ScriptedModel


class OneLook:
    """Asks the model, carries out what it calls, asks once more."""

    async def run(self, context: AgentContext) -> PlannerResult:
        messages = [Message("system", context.instructions), Message("user", str(context.input))]
        first = await context.think(messages)
        if not first.tool_calls:
            return PlannerResult(first.text)
        results = await context.act(first.tool_calls)
        messages += [first.message(), *(Message("tool", r.content, (), r.call_id, r.is_error) for r in results)]
        return PlannerResult((await context.think(messages)).text, "step_limit")


@tool(effect="read")
async def search(query: str, ctx: ToolContext) -> list[str]:
    """Search the handbook."""
    return [f"{query} for {ctx.deps}"]


def helper(model: Any, **changes: Any) -> Agent:
    given: dict[str, Any] = {"planner": OneLook(), "tools": [search], "instructions": "Be brief.", **changes}
    return Agent("helper", model=model, **given)


async def test_a_run_gives_output_reason_and_the_tokens_of_all_calls():
    model = ScriptedModel([ToolCall("1", "search", {"query": "token"}), "In the settings."])

    result = await helper(model).run("How?", deps="Ada")

    assert result == RunResult("In the settings.", "step_limit", Usage(requests=2))
    assert model.requests[1].messages[-1].content == '["token for Ada"]'


async def test_the_model_sees_instructions_tools_and_settings():
    model = ScriptedModel(["Done."])

    await helper(model, settings={"temperature": 0}).run("How?")

    (request,) = model.requests
    assert request.messages[0] == Message("system", "Be brief.")
    assert [(spec.name, spec.description) for spec in request.tools] == [("search", "Search the handbook.")]
    assert request.settings == {"temperature": 0}


async def test_a_bound_model_carries_the_name_and_its_settings_give_way_to_the_agents():
    model = ScriptedModel(["Done."])
    bound = BoundModel(model, "m-1", {"temperature": 1, "seed": 7})

    await helper(bound, settings={"temperature": 0}).run("How?")

    assert model.requests[0].model == "m-1"
    assert model.requests[0].settings == {"temperature": 0, "seed": 7}


async def test_events_and_deltas_come_in_order():
    model = ScriptedModel([ToolCall("1", "search", {"query": "token"}), "In it."])
    told: list[RunEvent] = []

    await helper(model).run("How?", on_event=told.append)

    assert [event.type for event in told] == [
        "run_started", "tool_call_delta", "model_answered", "tool_call_started", "tool_call_ended",
        "text_delta", "text_delta", "model_answered", "run_ended",
    ]  # fmt: skip
    assert isinstance(told[-1], RunEnded)
    assert (told[-1].output, told[-1].reason, told[-1].usage) == ("In it.", "step_limit", Usage(requests=2))


async def test_a_stream_yields_the_same_events_and_the_result_last():
    model = ScriptedModel(["Done."])

    seen = [event async for event in helper(model).stream("How?")]

    told = [event for event in seen if not isinstance(event, RunResult)]
    assert [event.type for event in told] == ["run_started", "text_delta", "model_answered", "run_ended"]
    assert seen[-1] == RunResult("Done.", "answered", Usage(requests=1))


async def test_a_stream_raises_what_the_run_raises_after_what_came_before():
    model = ScriptedModel([ToolCall("1", "search", {"query": "token"}), ModelError("refused")])
    seen: list[Any] = []

    async def listen() -> None:
        async for event in helper(model).stream("How?"):
            seen.append(event)

    with pytest.raises(ModelError, match="refused"):
        await listen()

    assert [event.type for event in seen][-3:] == ["tool_call_ended", "step_ended", "run_failed"]
    assert seen[-1].error.message == "refused"


async def test_closing_a_stream_cancels_the_run():
    begun, cancelled = asyncio.Event(), asyncio.Event()

    class Endless:
        async def run(self, context: AgentContext) -> PlannerResult:
            await context.emit("begun")
            try:
                begun.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise
            raise AssertionError

    stream = helper(ScriptedModel([]), planner=Endless()).stream("How?")
    await anext(stream)
    await begun.wait()
    await stream.aclose()

    assert cancelled.is_set()


async def test_a_handler_runs_within_the_context_that_it_is_given():
    model = ScriptedModel(["Done."])
    handle = helper(model).handler(Kit(plugins=None))  # type: ignore[arg-type]

    output = await handle(Context(MemoryLog(), name="helper", input="How?"))

    assert output == "Done."
    assert model.requests[0].messages[-1].content == "How?"


def test_what_the_outside_sees_are_words():
    plain = Agent("a-1", tools=[search, "web"], description="Helps.")
    objects = helper(ScriptedModel([]))

    assert (plain.name, plain.description, plain.planner, plain.model) == ("a-1", "Helps.", "react", None)
    assert plain.tool_names == ("search", "web")
    assert (objects.planner, objects.model) == ("OneLook", "ScriptedModel")


def test_an_agent_does_not_change():
    settings = {"temperature": 0}
    agent = Agent("helper", settings=settings)
    settings["temperature"] = 1

    assert agent.settings == {"temperature": 0}
    with pytest.raises(AttributeError):
        agent.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        agent.settings["temperature"] = 1  # type: ignore[index]


def test_a_function_is_taken_as_a_tool_that_must_not_be_repeated():
    async def pay(amount: float) -> None:
        """Pay."""

    (made,) = Agent("helper", tools=[pay]).tools

    assert not isinstance(made, str)
    assert (made.name, made.effect) == ("pay", "once")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "no blanks"}, "'no blanks' is not an agent's name"),
        ({"name": ""}, "'' is not an agent's name"),
        ({"max_steps": 0}, "The agent 'helper' has max_steps=0"),
        ({"max_steps": True}, "The agent 'helper' has max_steps=True"),
        ({"tools": [search, "search"]}, "The agent 'helper' has two tools named 'search'. Rename one"),
        ({"tools": "search"}, "The agent 'helper' has tools='search'; a list is meant."),
        ({"tools": [7]}, "int is not a tool."),
    ],
)
def test_what_does_not_fit_is_refused_at_once(arguments: dict[str, Any], words: str):
    with pytest.raises(ConfigError) as caught:
        Agent(**{"name": "helper", **arguments})

    assert words in str(caught.value)


def test_a_finished_agent_leaves_memory():
    async def once() -> weakref.ref[Agent]:
        agent = helper(ScriptedModel(["Done."]))
        await agent.run("How?")
        return weakref.ref(agent)

    gone = asyncio.run(once())
    gc.collect()

    assert gone() is None


@pytest.mark.parametrize("nothing", ["", "  \n", None])
async def test_an_agent_does_not_begin_with_nothing(nothing: Any):
    with pytest.raises(InvalidInput, match="The agent 'helper' needs an input"):
        await helper(ScriptedModel(["never"])).run(nothing)
