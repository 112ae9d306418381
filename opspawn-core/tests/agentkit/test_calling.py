"""How tools are called: what the model is told, how often, how many at a time, and what is done when time is up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from opspawn import Agent, tool
from opspawn.agentkit.agent_run import AgentRun
from opspawn.agentkit.bound import BoundModel
from opspawn.agentkit.context import Context
from opspawn.agentkit.memory_log import MemoryLog
from opspawn.agentkit.stopping import within
from opspawn.contracts.events import NewEvent
from opspawn.contracts.model import Message, ToolCall
from opspawn.contracts.retry import RetryPolicy
from opspawn.errors import ConfigError, ModelRetry, StepTimeout, ToolError
from opspawn.testing import ScriptedModel

ONCE_MORE = RetryPolicy(attempts=2, initial_s=0.0, jitter=False)


class Run:
    """A run in memory of an agent with some tools, and what it told."""

    def __init__(self, *tools: Any, script: Any = ()) -> None:
        self.told: list[Any] = []
        self.model = ScriptedModel(script)
        self.ctx = AgentRun(
            Context(MemoryLog(self.told.append), name="helper"),
            name="helper",
            instructions="",
            model=BoundModel(self.model, "m", {}),
            tools=tools,
            max_steps=9,
        )

    async def act(self, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
        return await self.ctx.act([ToolCall(str(n), name, arguments) for n, (name, arguments) in enumerate(calls)])

    async def offered(self) -> list[str]:
        """The names that the next model call offers."""
        await self.ctx.think([Message("user", "?")])
        return [spec.name for spec in self.model.requests[-1].tools]

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.told if isinstance(event, NewEvent)]


async def until(holds: Callable[[], bool]) -> None:
    """Return once something holds."""
    for _ in range(20_000):
        if holds():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("what the test waits for does not come")


# -- trying differently ------------------------------------------------------------------------------------------------


@tool(effect="read", max_retries=1)
async def look(word: str) -> str:
    """Look something up."""
    if word == "none":
        raise ModelRetry("There is no such word.", remedy="Try a noun.")
    if word == "broken":
        raise ToolError("The book is lost.")
    return word


async def test_a_tool_can_ask_the_model_to_call_it_differently() -> None:
    (result,) = await Run(look).act(("look", {"word": "none"}))

    assert (result.is_error, result.error_type) == (True, "retry")
    assert result.content == "There is no such word. Try a noun."


async def test_after_max_retries_turns_a_tool_is_closed_for_the_run() -> None:
    run = Run(look, script=["-"])

    (first,) = await run.act(("look", {"word": "none"}))
    (second,) = await run.act(("look", {"word": 5}))
    (third,) = await run.act(("look", {"word": "fine"}))

    assert first.error_type == "retry"
    assert second.error_type == "tool_error"
    assert second.content.endswith("This was try 2: 'look' is closed now. Go on without it.")
    assert third.error_type == "denied"
    assert "closed for the rest of this run" in third.content
    assert await run.offered() == []


@pytest.mark.parametrize("between", ["fine", "broken"])
async def test_a_call_that_needs_no_retry_begins_the_count_anew(between: str) -> None:
    run = Run(look)

    for word in ("none", between, "none"):
        (result,) = await run.act(("look", {"word": word}))

    assert result.error_type == "retry"


async def test_calls_of_one_turn_count_once_and_one_that_fits_suffices() -> None:
    run = Run(look)

    await run.act(("look", {"word": "none"}), ("look", {"word": "none"}), ("look", {"word": "none"}))
    results = await run.act(("look", {"word": "none"}), ("look", {"word": "fine"}))

    assert [result.error_type for result in results] == ["retry", None]
    assert (await run.act(("look", {"word": "none"})))[0].error_type == "retry"


async def test_where_no_model_asked_a_retry_is_a_failure() -> None:
    with pytest.raises(ToolError, match="no such word") as caught:
        await Run().ctx.call(look, {"word": "none"})

    assert type(caught.value) is ToolError


# -- words for the model -----------------------------------------------------------------------------------------------


async def test_an_unknown_tool_is_answered_with_those_of_similar_name() -> None:
    (result,) = await Run(look).act(("lok", {}))

    assert result.content == "There is no tool 'lok'. Did you mean 'look'? Tools: look."
    assert result.error_type == "not_found"


async def test_an_error_is_words_without_a_traceback_and_not_endless() -> None:
    @tool(effect="read")
    async def fail(how: str) -> str:
        raise KeyError("size") if how == "key" else ValueError("x" * 100_000)

    key, long = await Run(fail).act(("fail", {"how": "key"}), ("fail", {"how": "long"}))

    assert key.content == "KeyError: 'size'"
    assert len(long.content) < 5_000
    assert "Traceback" not in long.content


# -- retries -----------------------------------------------------------------------------------------------------------


async def test_a_retry_policy_repeats_a_call_before_the_model_hears_of_it() -> None:
    tries: list[int] = []

    @tool(effect="read", retry=ONCE_MORE)
    async def flaky() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise ToolError("Not now.")
        return "there"

    run = Run(flaky)
    (result,) = await run.act(("flaky", {}))

    assert result.content == "there"
    assert run.types == ["step.retry", "step.done"]


async def test_a_call_that_keeps_failing_is_told_to_the_model_in_the_tools_words() -> None:
    @tool(effect="read", retry=ONCE_MORE)
    async def broken() -> str:
        raise ToolError("Not now.", remedy="Ask tomorrow.")

    run = Run(broken)
    (result,) = await run.act(("broken", {}))

    assert (result.content, result.error_type) == ("Not now. Ask tomorrow.", "tool_error")
    assert run.types == ["step.retry", "step.failed"]
    with pytest.raises(ToolError, match="Not now"):
        await run.ctx.call(broken, {})


async def test_what_the_policy_does_not_name_is_not_repeated() -> None:
    run = Run(look, script=())
    again = tool(effect="read", name="again", retry=ONCE_MORE)(look.__wrapped__)

    (result,) = await Run(again).act(("again", {"word": 5}))

    assert result.error_type == "invalid_input"
    assert "step.retry" not in run.types


def test_a_once_tool_has_no_retry_policy() -> None:
    with pytest.raises(ConfigError, match='has a retry policy and the effect "once"'):
        tool(name="pay", retry=ONCE_MORE)(look.__wrapped__)


@pytest.mark.parametrize("option", [{"max_retries": -1}, {"concurrency": 0}, {"max_result": 10}, {"max_retries": True}])
def test_options_out_of_range_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"has {next(iter(option))}="):
        tool(**option)(look.__wrapped__)


# -- time --------------------------------------------------------------------------------------------------------------


async def test_an_async_tool_is_cancelled_when_its_time_is_up() -> None:
    ended = asyncio.Event()

    @tool(effect="read", timeout_s=0.01)
    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    (result,) = await Run(slow).act(("slow", {}))

    assert (result.error_type, result.content) == ("timeout", "The tool 'slow' did not end within 0.01 s.")
    assert ended.is_set()


async def test_work_that_ignores_being_cancelled_is_left_to_itself_and_reported() -> None:
    stop = asyncio.Event()
    ended = asyncio.Event()

    async def stubborn() -> None:
        while not stop.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await stop.wait()
        ended.set()

    with pytest.raises(StepTimeout, match="It ignores being cancelled, and was left to itself"):
        await within(0.01, stubborn(), "The work", grace_s=0.01)

    stop.set()
    await ended.wait()


async def test_a_cancelled_run_cancels_the_tool() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    @tool(effect="read", timeout_s=60)
    async def slow() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    run = asyncio.create_task(Run(slow).act(("slow", {})))
    await began.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert ended.is_set()


async def test_sys_exit_in_a_tool_with_a_time_limit_ends_neither_loop_nor_run() -> None:
    @tool(effect="read", timeout_s=10)
    async def leaves() -> None:
        raise SystemExit(3)

    (result,) = await Run(leaves).act(("leaves", {}))

    assert result.content == "SystemExit: 3"


async def test_a_thread_cannot_be_stopped_and_the_run_goes_on_without_it() -> None:
    release = threading.Event()
    gone = threading.Event()

    @tool(effect="read", timeout_s=0.05, concurrency=1)
    def hangs(wait: bool) -> str:
        if wait:
            release.wait(20)
            gone.set()
        return "done"

    run = Run(hangs)
    (late,) = await run.act(("hangs", {"wait": True}))
    assert hangs.leaked_threads == 1
    (next_one,) = await run.act(("hangs", {"wait": False}))
    release.set()
    await asyncio.to_thread(gone.wait, 20)

    assert (late.error_type, next_one.content) == ("timeout", "done")
    await until(lambda: hangs.leaked_threads == 0)


async def test_threads_that_hang_do_not_use_up_those_of_others() -> None:
    release = threading.Event()

    @tool(effect="read", timeout_s=0.01)
    def hangs() -> None:
        release.wait(20)

    await Run(hangs).act(*[("hangs", {})] * 40)

    assert await asyncio.to_thread(lambda: "free") == "free"
    release.set()


# -- several at a time -------------------------------------------------------------------------------------------------


class Meter:
    """Counts how many are at work."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.order: list[str] = []

    async def work(self, name: str) -> str:
        self.now += 1
        self.most = max(self.most, self.now)
        self.order.append(name)
        for _ in range(5):
            await asyncio.sleep(0)
        self.now -= 1
        self.order.append(f"{name} ended")
        return name


async def test_results_come_in_the_order_of_the_calls() -> None:
    @tool(effect="read")
    async def after(turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        return turns

    results = await Run(after).act(*[("after", {"turns": turns}) for turns in (5, 0, 3)])

    assert [result.value for result in results] == [5, 0, 3]


async def test_no_more_calls_than_its_concurrency_are_at_work() -> None:
    meter = Meter()

    @tool(effect="read", concurrency=2)
    async def work(name: str) -> str:
        return await meter.work(name)

    await Run(work).act(*[("work", {"name": str(n)}) for n in range(6)])

    assert meter.most == 2


async def test_waiting_for_a_place_is_not_counted_as_time() -> None:
    @tool(effect="read", concurrency=1, timeout_s=0.2)
    async def work() -> str:
        await asyncio.sleep(0.06)
        return "done"

    results = await Run(work).act(*[("work", {})] * 6)

    assert [result.content for result in results] == ["done"] * 6


async def test_a_sequential_tool_never_runs_beside_another() -> None:
    meter = Meter()

    @tool(effect="read")
    async def work(name: str) -> str:
        return await meter.work(name)

    @tool(effect="read", sequential=True)
    async def alone(name: str) -> str:
        return await meter.work(name)

    names = [("work", "a"), ("work", "b"), ("alone", "c"), ("alone", "d"), ("work", "e")]
    results = await Run(work, alone).act(*[(name, {"name": letter}) for name, letter in names])

    assert [result.value for result in results] == list("abcde")
    assert meter.order[4:8] == ["c", "c ended", "d", "d ended"]
    assert meter.most == 2


# -- long results ------------------------------------------------------------------------------------------------------


@tool(effect="read", max_result=300)
async def book() -> str:
    """Return a whole book."""
    return "".join(f"{n:04d} " for n in range(1000))


async def test_a_long_result_is_cut_and_can_be_read_on() -> None:
    run = Run(book, script=["-"])

    (cut,) = await run.act(("book", {}))
    (more,) = await run.act(("read_result", {"handle": cut.handle, "offset": 300, "limit": 10}))
    (rest,) = await run.act(("read_result", {"handle": cut.handle, "offset": 4990}))

    assert cut.content[:300] == cut.value[:300]
    assert (
        cut.content[301:] == f"[Characters 0 to 300 of 5000. Read on: read_result(handle={cut.handle!r}, offset=300).]"
    )
    assert more.content == "0060 0061 \n[Characters 300 to 310 of 5000. Read on from offset=310.]"
    assert rest.content == "0998 0999 \n[Characters 4990 to 5000 of 5000. That was all.]"
    assert await run.offered() == ["book", "read_result"]


async def test_read_result_is_offered_only_when_something_was_cut() -> None:
    run = Run(look, script=["-"])
    await run.act(("look", {"word": "a"}))

    assert await run.offered() == ["look"]
    assert (await run.act(("read_result", {"handle": "act/0", "offset": 0})))[0].error_type == "not_found"


async def test_a_wrong_handle_is_answered_with_the_right_ones() -> None:
    run = Run(book)
    (cut,) = await run.act(("book", {}))

    (wrong,) = await run.act(("read_result", {"handle": "x", "offset": 0}))

    assert wrong.content == f"There is no result 'x'. Handles: {cut.handle}."


def test_no_tool_of_an_agent_may_be_called_read_result() -> None:
    @tool
    async def read_result() -> None: ...

    with pytest.raises(ConfigError, match="which reads on in long results"):
        Agent("a", tools=[read_result])
