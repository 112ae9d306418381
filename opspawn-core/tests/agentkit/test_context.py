"""The run context in memory: keys, branches, retries, tools, time. What survives a crash is proved in tests/ops."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from opspawn import tool
from opspawn.agentkit.agent_run import AgentRun
from opspawn.agentkit.bound import BoundModel
from opspawn.agentkit.context import Context
from opspawn.agentkit.memory_log import MemoryLog
from opspawn.contracts.events import NewEvent
from opspawn.contracts.model import Message, ModelDelta, ToolCall, Usage
from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.tool import ToolContext
from opspawn.errors import (
    ConfigError,
    InDoubt,
    Interrupted,
    InvalidInput,
    ModelError,
    StepFailed,
    StepTimeout,
    ToolError,
)
from opspawn.testing import ScriptedModel


class Run:
    """A run in memory, and what it told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.ctx = Context(MemoryLog(self.told.append), name="work", input={"n": 1}, deps="deps")

    def agent(self, script: Any = (), tools: Any = ()) -> Any:
        model = BoundModel(ScriptedModel(script), "m-1", {"seed": 7})
        return AgentRun(self.ctx, name="helper", instructions="Be kind.", model=model, tools=list(tools), max_steps=3)

    @property
    def keys(self) -> list[str]:
        return [event.data["key"] for event in self.told if isinstance(event, NewEvent)]

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.told if isinstance(event, NewEvent)]


@pytest.fixture
def run() -> Run:
    return Run()


async def say(word: Any) -> Any:
    await asyncio.sleep(0)
    return word


# -- keys --------------------------------------------------------------------------------------------------------------


async def test_a_key_is_the_name_and_its_ordinal(run: Run) -> None:
    for word in "abc":
        await run.ctx.step("say", say, word)
    await run.ctx.step("say", say, "d", key="mine")
    await run.ctx.step("other", say, "e", key="mine")

    assert run.keys == ["say", "say#1", "say#2", "mine", "mine#1"]


async def test_each_branch_of_a_gather_is_a_scope(run: Run) -> None:
    async def branch(name: str) -> Any:
        return [await run.ctx.step("say", say, name), *await run.ctx.gather(run.ctx.step("say", say, name.upper()))]

    assert await run.ctx.gather(branch("a"), branch("b")) == [["a", "A"], ["b", "B"]]
    await run.ctx.gather(run.ctx.step("say", say, "c"))

    assert sorted(run.keys) == [
        "gather#1/0/say", "gather/0/gather/0/say", "gather/0/say", "gather/1/gather/0/say", "gather/1/say",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["act/0", "gather/0/say", "say#1", "100%"])
async def test_a_name_cannot_pass_for_a_key_of_another_step(run: Run, name: str) -> None:
    await run.ctx.step(name, say, 1)

    assert run.keys != [name]


async def test_calls_of_an_agent_are_a_scope_each(run: Run) -> None:
    @tool(effect="read")
    async def echo(word: str) -> str:
        return word

    agent = run.agent(["-"], [echo])
    await agent.act([ToolCall("1", "echo", {"word": "a"}), ToolCall("2", "echo", {"word": "b"})])
    await agent.act([ToolCall("3", "echo", {"word": "c"})])

    assert run.keys == ["act/0", "act/1", "act#1/0"]


@pytest.mark.parametrize("act", ["step", "call", "sleep", "now", "random", "emit", "gather", "think"])
async def test_a_second_call_of_a_name_in_flight_is_refused(run: Run, act: str) -> None:
    """Which of the two is first would be chance, and another chance after a crash."""

    @tool(effect="read")
    async def look() -> None:
        await asyncio.sleep(0)

    agent = run.agent(["one", "two"])
    ctx = run.ctx
    calls: dict[str, Any] = {
        "step": lambda: ctx.step("a", say, 1),
        "call": lambda: ctx.call(look, {}),
        "sleep": lambda: ctx.sleep(0.01),
        "now": ctx.now,
        "random": ctx.random,
        "emit": lambda: ctx.emit("x"),
        "gather": lambda: ctx.gather(say(1)),
        "think": lambda: agent.think([Message("user", "?")]),
    }
    if act in ("now", "random", "emit", "think"):  # these never wait in memory, so that they cannot meet

        async def slowly(call: Any) -> Any:
            with ctx._asking("", "custom.x" if act == "emit" else act, None, None):
                return await call()

        with pytest.raises(StepFailed, match="while a call of that name is in flight"):
            await slowly(calls[act])
        return

    with pytest.raises(StepFailed, match=r"in flight: give one a key=, or use ctx\.gather"):
        await asyncio.gather(calls[act](), calls[act]())


async def test_keys_or_a_gather_let_calls_of_a_name_meet(run: Run) -> None:
    told = await asyncio.gather(run.ctx.step("a", say, 1, key="one"), run.ctx.step("a", say, 2, key="two"))
    more = await run.ctx.gather(run.ctx.step("a", say, 3), run.ctx.step("a", say, 4))

    assert [*told, *more] == [1, 2, 3, 4]


async def test_a_name_is_free_again_after_a_failure(run: Run) -> None:
    async def fails() -> None:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(StepFailed, match="ValueError: no"):
            await run.ctx.step("a", fails)

    assert run.keys == ["a", "a#1"]


# -- acting ------------------------------------------------------------------------------------------------------------


async def test_a_step_takes_async_and_plain_functions_and_callables(run: Run) -> None:
    class Callable:
        async def __call__(self, word: str) -> str:
            return f"called {word}"

    assert await run.ctx.step("a", say, 1) == 1
    assert await run.ctx.step("b", lambda a, b: a + b, 1, 2) == 3
    assert await run.ctx.step("c", Callable(), "x") == "called x"


async def test_what_a_step_returns_is_plain_json_at_once(run: Run) -> None:
    assert await run.ctx.step("a", say, {"d": (datetime(2026, 1, 2, tzinfo=UTC), {"x"})}) == {
        "d": ["2026-01-02T00:00:00Z", ["x"]]
    }


async def test_a_tool_learns_about_its_call(run: Run) -> None:
    seen: list[ToolContext] = []

    @tool(effect="read")
    async def look(context: ToolContext) -> None:
        seen.append(context)

    await run.ctx.call(look, {})
    await run.ctx.call(look, {})

    assert [context.idempotency_key.partition("/")[2] for context in seen] == ["look", "look#1"]
    assert (seen[0].agent, seen[0].task, seen[0].deps) == ("work", None, "deps")


async def test_a_tool_that_takes_too_long_is_stopped(run: Run) -> None:
    @tool(effect="read", timeout_s=60)
    async def slow() -> None:
        await asyncio.sleep(60)

    with pytest.raises(StepTimeout, match=r"The tool 'slow' did not end within 0\.02 s"):
        await run.ctx.call(slow, {}, timeout_s=0.02)


async def test_a_time_out_of_the_tools_own_is_its_failure(run: Run) -> None:
    @tool(effect="read", timeout_s=60)
    async def slow() -> None:
        raise TimeoutError("the server is slow")

    with pytest.raises(StepFailed, match="TimeoutError: the server is slow") as caught:
        await run.ctx.call(slow, {})
    assert caught.value.error_type == "timeout"


async def test_failures_are_tried_again_as_the_policy_says(run: Run) -> None:
    tries: list[int] = []

    @tool(effect="read")
    async def look() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise ToolError("not yet")
        return len(tries)

    assert await run.ctx.call(look, {}, retry=RetryPolicy(attempts=3, initial_s=0.0)) == 3
    assert run.types == ["step.retry", "step.retry", "step.done"]


async def test_the_first_failure_of_a_gather_cancels_the_others_and_waits_for_their_end(run: Run) -> None:
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            ended.append("slow")

    async def bad() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await run.ctx.gather(slow(), bad())
    assert ended == ["slow"]


async def test_a_gather_of_nothing_is_nothing(run: Run) -> None:
    assert await run.ctx.gather() == []


async def test_a_gather_that_is_cancelled_before_its_branches_began_leaves_nothing_behind(run: Run) -> None:
    gathering = asyncio.create_task(run.ctx.gather(say(1), say(2)))
    await asyncio.sleep(0)
    gathering.cancel()

    with pytest.raises(asyncio.CancelledError):
        await gathering
    assert run.ctx._branches._live == 1


async def test_in_memory_there_are_no_children(run: Run) -> None:
    with pytest.raises(ConfigError, match=r"needs child tasks, and this run is in memory\. Run it with 'opspawn run'"):
        await run.ctx.spawn("agent/helper", "hello")


async def test_in_memory_a_halt_is_raised_as_it_is(run: Run) -> None:
    async def halts() -> None:
        raise InDoubt("k", "pay", {})

    with pytest.raises(InDoubt):
        await run.ctx.step("a", halts)


async def test_time_and_chance(run: Run) -> None:
    assert (await run.ctx.now()).tzinfo is UTC
    assert 0 <= await run.ctx.random() < 1
    await run.ctx.sleep(0.001)


async def test_events_of_ones_own(run: Run) -> None:
    await run.ctx.emit("paid", {"amount": 3})

    assert (run.told[0].type, run.told[0].data["amount"]) == ("custom.paid", 3)


@pytest.mark.parametrize("data", [{"key": 1}, {"digest": 1}, {"x": object()}])
async def test_events_that_the_journal_could_not_keep_are_refused(run: Run, data: Any) -> None:
    with pytest.raises(InvalidInput, match="event 'x'"):
        await run.ctx.emit("x", data)


# -- an agent's own ----------------------------------------------------------------------------------------------------


async def test_thinking_streams_and_counts(run: Run) -> None:
    agent = run.agent(["Hello there.", "Bye."])
    first = await agent.think([Message("user", "Hi")])
    await agent.think([Message("user", "Hi"), Message("assistant", first.text)])

    assert first.text == "Hello there."
    assert agent.usage == Usage(requests=2)
    assert "".join(told.text for told in run.told if isinstance(told, ModelDelta)) == "Hello there.Bye."
    assert run.keys == ["think", "think#1"]


async def test_a_model_that_stumbles_is_asked_again_and_one_that_refuses_is_not(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opspawn.agentkit.thinking.MODEL_RETRY", RetryPolicy(2, 0.0, when=("transient",)))
    agent = run.agent([ModelError("gone", error_type="transient"), "Hello.", ModelError("no", error_type="denied")])

    assert (await agent.think([Message("user", "Hi")])).text == "Hello."
    with pytest.raises(ModelError, match="no"):
        await agent.think([Message("user", "Hi")])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (ToolCall("1", "none"), "There is no tool 'none'. Tools: broken, number, odd, leaves."),
        (ToolCall("1", "number", {"n": "x"}), "n:"),
        (ToolCall("1", "number", {}, "{broken"), "The arguments were not a JSON object: '{broken'"),
        (ToolCall("1", "broken"), "out of order"),
        (ToolCall("1", "odd"), "cannot be expressed in JSON"),
        (ToolCall("1", "leaves"), "3"),
    ],
)
async def test_whatever_goes_wrong_with_a_call_the_model_is_told_in_words(run: Run, call: ToolCall, words: str) -> None:
    @tool(effect="read")
    async def broken() -> None:
        raise RuntimeError("out of order")

    @tool(effect="read")
    async def number(n: int) -> int:
        return n

    @tool(effect="read")
    async def odd() -> object:
        return object()

    @tool(effect="read")
    async def leaves() -> None:
        raise SystemExit(3)

    [result] = await run.agent(["-"], [broken, number, odd, leaves]).act([call])

    assert result.is_error
    assert words in result.content
    assert (result.call_id, result.name, result.value) == ("1", call.name, None)


async def test_a_foreign_tool_gives_what_the_journal_will_give_back(run: Run) -> None:
    class Foreign:
        name, description, effect, timeout_s, parameters = "foreign", "", "read", None, None

        async def call(self, arguments: dict[str, Any], context: ToolContext) -> Any:
            return {"n": (1, 2)} if arguments else object()

    agent = run.agent(["-"], [Foreign()])
    good, bad = await agent.act([ToolCall("1", "foreign", {"x": 1}), ToolCall("2", "foreign")])

    assert (good.value, good.content) == ({"n": [1, 2]}, '{"n":[1,2]}')
    assert (bad.is_error, bad.error_type) == (True, "invalid_output")


async def test_a_once_effect_does_not_begin_when_recording_it_outlasted_the_lease() -> None:
    """Named guard: the look at the lease between the intent and the effect."""

    class Slow(MemoryLog):
        late = False

        async def begin(self, asked: Any, arguments: Any) -> None:
            self.late = True

        def held(self) -> None:
            if self.late:
                raise Interrupted("The lease is over.")

    paid: list[int] = []
    ctx = Context(Slow(), name="work")

    with pytest.raises(Interrupted):
        await ctx.step("pay", paid.append, 3, effect="once")

    assert paid == []
