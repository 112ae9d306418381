"""Listeners hear everything, in order and at least once, and whatever they do hurts no run."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from opspawn.agentkit.failures import named
from opspawn.contracts.events import Event
from opspawn.contracts.store import EventQuery
from opspawn.ops import listening
from opspawn.ops.listening import Feed, Listeners


class Hears:
    """Notes what it hears; `fails` says at which calls it raises."""

    def __init__(self, *, durable: bool = True) -> None:
        self.durable = durable
        self.heard: list[Event] = []
        self.threads: set[str] = set()
        self.fails = lambda call: False
        self.fault: BaseException = ValueError("no")
        self.calls = 0

    async def on_event(self, event: Event) -> None:
        self.calls += 1
        self.threads.add(threading.current_thread().name)
        if self.fails(self.calls):
            raise self.fault
        self.heard.append(event)

    def types(self, task: Any) -> list[str]:
        return [event.type for event in self.heard if event.task == task.id]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long in a test."""
    for name, value in {"PAUSE_S": 0.001, "LONGEST_S": 0.002, "KEEP_S": 0.01, "TURN_S": 0.15}.items():
        monkeypatch.setattr(listening, name, value)


@pytest.fixture
def work(house: Any) -> Any:
    @house.function
    async def work(ctx: Any) -> str:
        await ctx.step("look", lambda: 1)
        return "done"

    return house


async def ready(house: Any, name: str) -> None:
    """Return once a durable listener is known, so that it hears what follows."""

    async def known() -> bool:
        return await house.store.get("listener", name) is not None

    await house.until(known)


async def test_a_listener_hears_every_event_in_order_in_a_thread_of_its_own(work: Any) -> None:
    listener, listeners = Hears(), None
    listeners = Listeners({"ear": listener})
    await listeners.start(work.store, "w-1")
    await ready(work, "ear")
    task = await work.run("work")
    await listeners.aclose()

    assert listener.types(task) == ["task.accepted", "task.claimed", "step.done", "task.succeeded"]
    positions = [event.position for event in listener.heard]
    assert positions == sorted(set(positions))
    assert listener.threads == {"opspawn-listener-ear"}


async def test_a_durable_listener_goes_on_where_it_was(work: Any) -> None:
    first, second = Hears(), Hears()
    listeners = Listeners({"ear": first})
    await listeners.start(work.store, "w-1")
    await ready(work, "ear")
    before = await work.run("work")
    await listeners.aclose()
    between = await work.run("work")  # nobody listens
    listeners = Listeners({"ear": second})
    await listeners.start(work.store, "w-1")
    await work.until(lambda: "task.succeeded" in second.types(between))
    await listeners.aclose()

    assert first.types(before)[-1] == "task.succeeded"
    assert second.types(before) == []
    assert second.types(between) == ["task.accepted", "task.claimed", "step.done", "task.succeeded"]


async def test_one_that_is_not_durable_hears_what_happens_from_its_start(work: Any) -> None:
    before = await work.run("work")
    listener = Hears(durable=False)
    feed = Feed(work.store, "ear", listener, "w-1")
    running = asyncio.create_task(feed.run())
    await work.until(lambda: feed.position is not None)
    after = await work.run("work")
    await work.until(lambda: listener.types(after)[-1:] == ["task.succeeded"])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert listener.types(before) == []
    assert await work.store.get("listener", "ear") is None


async def test_an_event_at_which_it_failed_comes_again(work: Any) -> None:
    listener = Hears()
    listener.fails = lambda call: call in (1, 2, 4)
    listeners = Listeners({"ear": listener})
    await listeners.start(work.store, "w-1")
    await ready(work, "ear")
    task = await work.run("work")
    await work.until(lambda: listener.types(task)[-1:] == ["task.succeeded"])
    await listeners.aclose()

    assert listener.types(task) == ["task.accepted", "task.claimed", "step.done", "task.succeeded"]


@pytest.mark.parametrize("fault", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), BaseException("odd")])
async def test_one_that_always_fails_is_switched_off_and_no_run_notices(work: Any, fault: BaseException) -> None:
    listener = Hears()
    listener.fails, listener.fault = lambda call: True, fault
    listeners = Listeners({"ear": listener})
    await listeners.start(work.store, "w-1")
    await ready(work, "ear")
    task = await work.run("work")

    async def off() -> bool:
        return bool(await work.store.events(EventQuery(types=["listener.disabled"])))

    await work.until(off)
    [event] = await work.store.events(EventQuery(types=["listener.disabled"]))
    later = await work.run("work")
    await listeners.aclose()

    assert (task.result, later.result) == ("done", "done")
    assert listener.calls == listening.FAILURES
    assert (event.level, event.data["listener"]) == ("warning", "ear")
    assert event.data["error"]["message"] == named(fault)
    kept = await work.store.get("listener", "ear")
    assert kept.data["position"] < event.position  # it begins there again


async def test_one_that_blocks_its_thread_holds_up_nobody(work: Any) -> None:
    blocked = threading.Event()

    class Blocks:
        async def on_event(self, event: Event) -> None:
            blocked.wait(20)

    other = Hears()
    listeners = Listeners({"blocks": Blocks(), "ear": other})
    await listeners.start(work.store, "w-1")
    await ready(work, "blocks")
    await ready(work, "ear")
    task = await work.run("work")
    await work.until(lambda: other.types(task)[-1:] == ["task.succeeded"])
    blocked.set()
    await listeners.aclose()

    assert task.result == "done"


async def test_a_durable_listener_is_fed_by_one_process_at_a_time(work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "TURN_S", 3.0)  # a busy machine may be late to renew a short one
    first, second = Hears(), Hears()
    one = asyncio.create_task(Feed(work.store, "ear", first, "w-1").run())
    await ready(work, "ear")
    two = asyncio.create_task(Feed(work.store, "ear", second, "w-2").run())
    task = await work.run("work")
    await work.until(lambda: first.types(task)[-1:] == ["task.succeeded"])
    heard_by_second = list(second.heard)
    one.cancel()
    await asyncio.gather(one, return_exceptions=True)
    after = await work.run("work")
    await work.until(lambda: second.types(after)[-1:] == ["task.succeeded"])
    two.cancel()
    await asyncio.gather(two, return_exceptions=True)

    assert heard_by_second == []
    assert second.types(task) == []


async def test_what_is_heard_while_a_position_is_kept_is_kept_after_it(
    work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the last events before an end are heard again, by whoever has the next turn."""
    feed = Feed(work.store, "ear", Hears(), "w-1")
    commit = work.store.commit

    async def hears_meanwhile(batch: Any) -> Any:
        feed.position = 7
        return await commit(batch)

    feed.position = 5
    monkeypatch.setattr(work.store, "commit", hears_meanwhile)
    await feed._keep()
    assert (await work.store.get(listening.KIND, "ear")).data["position"] == 5
    await feed._keep()
    assert (await work.store.get(listening.KIND, "ear")).data["position"] == 7


async def test_deltas_are_heard_too_and_may_fail(work: Any) -> None:
    pieces: list[Any] = []

    class Pieces(Hears):
        async def on_delta(self, delta: Any) -> None:
            pieces.append(delta)
            raise ValueError("no")

    listener = Pieces()
    listeners = Listeners({"ear": listener})
    await listeners.start(work.store, "w-1")
    await ready(work, "ear")
    from opspawn.contracts.events import TaskDelta

    task = await work.run("work")
    await work.until(lambda: listener.types(task)[-1:] == ["task.succeeded"])
    deadline = time.monotonic() + 20
    while not pieces and time.monotonic() < deadline:
        work.store.publish([TaskDelta(task.id, {"text": "hi"})])
        await asyncio.sleep(0.01)
    again = await work.run("work")
    await work.until(lambda: listener.types(again)[-1:] == ["task.succeeded"])
    await listeners.aclose()

    assert pieces
