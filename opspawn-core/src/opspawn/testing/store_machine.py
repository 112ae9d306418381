"""Any store beside the model: hypothesis makes up calls, both get them, and must answer alike. A store joins so:

    class Machine(StoreMachine):
        async def open(self, clock):
            return await open_my_store(clock=clock)  # empty, and nobody else's

    TestMyStoreBesideTheModel = Machine.TestCase
    TestMyStoreBesideTheModel.settings = how_long()

`clock` is ours, and goes on only when a rule says so. A store that has a clock of its own sets `own_clock = True`: then
nothing falls due by waiting, and times are not compared. `STORE_EXAMPLES=1000` in the environment makes more tries, by
chance; without it they are always the same hundred. Needs hypothesis.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from opspawn.contracts.clock import Clock
from opspawn.contracts.events import Event, NewEvent
from opspawn.contracts.store import (
    INLINE_BYTES,
    Append,
    Batch,
    Check,
    Claim,
    Delete,
    EventQuery,
    Hold,
    Operation,
    Put,
    Query,
    Receipt,
    Record,
    SetLane,
    Store,
    Take,
    Task,
    TaskState,
    Wake,
)
from opspawn.errors import Limited, OpspawnError
from opspawn.testing.store_model import ModelStore

_BEGIN = 1_800_000_000
_IDS = [f"t{n}" for n in range(8)]
_WORKERS = ["w1", "w2"]
_QUEUES = ["default", "other"]
_HANDLERS = ["function/a", "function/b"]
_HOLDS: list[tuple[Hold, ...]] = [
    (),
    (Hold("one", 1),),
    (Hold("one", 1),),
    (Hold("one", 1, "unfinished"),),
    (Hold("two", 2), Hold("one", 1)),
    (Hold("two", 2, "unfinished"),),
    (Hold("one", 1), Hold("two", 2, "unfinished")),
]
_VALUES: list[Any] = [None, {"n": 1}, "x" * (INLINE_BYTES + 1), ["y" * (INLINE_BYTES + 1)]]
_STATES = [state for state in TaskState if state is not TaskState.RUNNING]
Intent = tuple[Any, ...]

_ids = st.sampled_from(_IDS)
_off = st.sampled_from([0, 0, 0, 0, 1, -1])  # how wrong a version or a token is
_values = st.sampled_from(range(len(_VALUES)))  # by number, since examples are shown
_tasks = st.builds(
    Task,
    id=_ids,
    handler=st.sampled_from(_HANDLERS),
    root=_ids,
    queue=st.sampled_from(["default"] * 5 + ["other"]),
    state=st.just(TaskState.QUEUED),
    priority=st.integers(-1, 1),
    agent=st.sampled_from([None, "a1"]),
    session=st.just(None),
    parent=st.sampled_from([None, *_IDS]),
    input=_values,
    labels=st.sampled_from([{}, {"k": "v"}, {"k": "w", "l": "v"}]),
    strict=st.sampled_from([False, False, True]),
    holds=st.sampled_from(_HOLDS),
)
_changes = st.fixed_dictionaries(
    {"state": st.sampled_from(_STATES)},
    optional={
        "result": _values,
        "priority": st.integers(-1, 1),
        "queue": st.sampled_from(_QUEUES),
        "holds": st.sampled_from(_HOLDS),
        "labels": st.sampled_from([{}, {"k": "v"}]),
    },
)
_when = st.fixed_dictionaries(
    {"due_in_s": st.sampled_from([0.0, 0.0, 0.0, -7.0, 13.0, None])},
    optional={"wake_at": st.integers(0, 3), "wakes_seen": st.integers(0, 3), "deadline_in_s": st.just(100.0)},
)
_creating = st.tuples(st.just("create"), _tasks, _when)
_changing = st.tuples(st.just("change"), _ids, _changes, _when, _off, st.sampled_from(["right"] * 5 + ["other"]), _off)
_appending = st.tuples(
    st.just("append"),
    st.sampled_from([*_IDS, None]),
    st.sampled_from(["fenced", "inbox"]),
    _off,
    _values,
)
_waking = st.tuples(st.just("wake"), _ids, st.booleans(), st.sampled_from([False, False, True]))
_taking = st.tuples(
    st.just("take"),
    st.sampled_from(["r1", "r2"]),
    st.sampled_from([1.0, 3.0, 7.0, -2.0]),
    st.sampled_from([False, True]),
)
_deleting = st.tuples(st.just("delete"), st.sampled_from(["task", "task", "k"]), _ids, _off)
_closing = st.tuples(st.just("lane"), st.sampled_from(_HANDLERS), st.sampled_from([True, True, False]))
_recording = st.tuples(
    st.just("record"), st.sampled_from(_IDS[:3]), st.sampled_from([{}, {"f": "x"}, {"f": "y", "g": "x"}]), _off
)
_checking = st.tuples(st.just("check"), st.sampled_from(_IDS[:3]), _off)
_intents = st.one_of(
    *(_creating, _creating, _changing, _changing, _appending, _waking, _taking, _deleting, _closing, _recording),
    _checking,
)
_ANY = st.sampled_from([None, None, "i1", "i2"])


def how_long() -> settings:
    """The settings for `TestCase`: about a hundred examples of forty steps, or as many as `STORE_EXAMPLES` says."""
    asked = os.environ.get("STORE_EXAMPLES")
    return settings(
        max_examples=int(asked or 100),
        stateful_step_count=40,
        derandomize=asked is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


class _Time:
    """The clock of both stores."""

    virtual = True

    def __init__(self) -> None:
        self.now = float(_BEGIN)

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


class StoreMachine(RuleBasedStateMachine):
    """The rules. Override `open`."""

    own_clock: ClassVar[bool] = False

    async def open(self, clock: Clock) -> Store:
        """An empty store that nobody else uses."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = _Time()
        self.model = ModelStore(self.clock.time)
        self.moved = False
        self.tokens: dict[str, list[tuple[str, int]]] = {}  # of each worker's claims, as (task, token)

    @initialize()
    def _begin(self) -> None:
        self.store = self._wait(self.open(self.clock))

    def teardown(self) -> None:
        """Compare what only whole answers show, and close."""
        if hasattr(self, "store"):
            for id in _IDS:
                self._same(partial(_whole, id=id))
            self._same(lambda store: store.find("k", Query()))
            self._same(lambda store: store.events(EventQuery()))
            self._wait(self.store.aclose())
        self.runner.close()

    # --- rules --------------------------------------------------------------------------------------------------------

    @rule(intents=st.lists(_intents, min_size=1, max_size=4), id=_ANY)
    def commit(self, intents: list[Intent], id: str | None) -> None:
        """One batch; ids come again, and then nothing is applied."""
        if self.own_clock and sum(intent[0] == "create" for intent in intents) > 1:
            return  # which of two comes first is the store's own affair
        batch = Batch([self._operation(one) for one in intents], id)
        self._both_write(lambda store: store.commit(batch))

    @rule(task=_tasks)
    def create(self, task: Task) -> None:
        """One more task, due at once."""
        self.commit([("create", task, {"due_in_s": 0.0})], None)

    @precondition(lambda self: any(self.tokens.values()))
    @rule(worker=st.sampled_from(_WORKERS), state=st.sampled_from(_STATES), due_in_s=st.sampled_from([0.0, None]))
    def finish(self, worker: str, state: TaskState, due_in_s: float | None) -> None:
        """The last lease of a worker is given back, or ends its task; refused if it is over."""
        if self.tokens.get(worker):
            id, token = self.tokens[worker].pop()
            task = self._task(id)
            put = Put(replace(task, state=state), task.version, token, due_in_s)
            self._both_write(lambda store: store.commit(Batch([put])))

    @rule(
        worker=st.sampled_from(_WORKERS),
        queues=st.sampled_from([_QUEUES, _QUEUES[:1]]),
        handlers=st.sampled_from([_HANDLERS, _HANDLERS, _HANDLERS[:1]]),
        slots=st.sampled_from([1, 1, 2, 4, 0]),
        lease_s=st.sampled_from([0.0, 30.0, 3600.0]),
        id=_ANY,
        ending_only=st.sampled_from([False, False, False, True]),
    )
    def claim(
        self,
        worker: str,
        queues: Sequence[str],
        handlers: Sequence[str],
        slots: int,
        lease_s: float,
        id: str | None,
        ending_only: bool,
    ) -> None:
        """One claim; ids come again, and then nothing is leased."""
        if self.own_clock and lease_s == 30.0:
            lease_s = 3600.0
        asked = Claim(worker, queues, handlers, slots, lease_s, id, ending_only)
        leases = self._both_write(lambda store: store.claim(asked))
        self.tokens.setdefault(worker, []).extend((lease.task.id, lease.token) for lease in leases)

    @precondition(lambda self: any(self.tokens.values()))
    @rule(worker=st.sampled_from(_WORKERS), last=st.integers(1, 4), lease_s=st.sampled_from([0.0, 3600.0]))
    def renew(self, worker: str, last: int, lease_s: float) -> None:
        """The last leases that a worker got, over or not."""
        leases = self.tokens.get(worker, [])[-last:]
        self._both_write(lambda store: store.renew(worker, leases, lease_s))

    @precondition(lambda self: not self.own_clock)
    @rule(seconds=st.sampled_from([1.0, 13.0, 31.0, 61.0, 4000.0, -3600.0]))
    def time_passes(self, seconds: float) -> None:
        """Or is set back."""
        self.clock.now += seconds

    @precondition(lambda self: not self.own_clock and not self.moved and hasattr(self.store, "kept"))
    @rule()
    def move(self) -> None:
        """Once, everything goes to another store, and on from there: all but answers that were kept for a while."""
        self.moved = True
        self.store = self._wait(self._moved())
        self.model._answers.clear()
        self.model._tick()  # as the store has read its clock

    async def _moved(self) -> Store:
        former: Any = self.store
        store: Any = await self.open(self.clock)
        items = [item async for item in former.kept()]
        await former.aclose()
        await store.restore(items)
        assert [item async for item in store.kept()] == items
        return cast(Store, store)

    @rule(where=st.sampled_from([{"state": "queued"}, {"handler": "function/a"}, {"root": "t1"}, {"agent": "a1"}]))
    def find_tasks(self, where: dict[str, str]) -> None:
        """By a field, and by a label, two at a time."""
        for query in (Query(where), Query(where, labels={"k": "v"}), Query(limit=2)):
            self._same(partial(_page, query=query))

    @rule(fields=st.sampled_from([{"f": "x"}, {"f": "y", "g": "x"}, {"id": "t1"}, {"h": "x"}]))
    def find_records(self, fields: dict[str, str]) -> None:
        """By their fields."""
        self._same(lambda store: store.find("k", Query(fields)))

    @rule(query=st.sampled_from([EventQuery(root="t1"), EventQuery(agent="a1", newest=True, limit=3)]))
    def find_events(self, query: EventQuery) -> None:
        """Of a tree, or of an agent."""
        self._same(lambda store: store.events(query))

    # --- how ----------------------------------------------------------------------------------------------------------

    def _operation(self, intent: Intent) -> Operation:
        """What is meant, with the versions and tokens that stand now."""
        match intent:
            case ("create", task, when):
                return Put(replace(task, input=_VALUES[task.input]), 0, **self._timed(when))
            case ("change", id, changes, when, off, fence, off_token):
                task = self._task(id)
                token = task.token + off_token if (task.state is TaskState.RUNNING) is (fence == "right") else None
                changes = {name: _VALUES[value] if name == "result" else value for name, value in changes.items()}
                return Put(replace(task, **changes), task.version + off, token, **self._timed(when))
            case ("append", id, fence, off, value):
                event = NewEvent("step.done", {"value": _VALUES[value]})
                if id is None:
                    return Append(None, event, agent="a1", session="s1")
                return Append(id, event, self._task(id).token + off if fence == "fenced" else None)
            case ("wake", id, urgent, cancel):
                return Wake(id, urgent, cancel)
            case ("take", key, amount, force):
                return Take(key, amount, 1e-6 if self.own_clock else 0.1, 5.0, force)
            case ("delete", "task", id, off):
                return Delete("task", id, self._task(id).version + off)
            case ("delete", kind, id, off):
                return Delete(kind, id, self._record(id) + off)
            case ("check", id, off):
                return Check("k", id, max(0, self._record(id) + off))
            case ("lane", handler, is_open):
                return SetLane(handler, is_open)
            case ("record", id, fields, off):
                version = self._record(id)
                return Put(Record("k", id, {"n": version}, fields=fields), max(0, version + off))
        raise AssertionError(intent)

    def _timed(self, when: dict[str, Any]) -> dict[str, Any]:
        later = self.own_clock and (when["due_in_s"] or 0) > 0
        return {**when, "due_in_s": 3600.0} if later else when

    def _task(self, id: str) -> Task:
        """As a page has it, so that large values are written back by their stand-ins."""
        row = self.model._tasks.get(id)
        return Task(id, _HANDLERS[0], id, version=1) if row is None else row.shown()

    def _record(self, id: str) -> int:
        found = self.model._records.get(("k", id))
        return 0 if found is None else found[0].version

    def _same(self, ask: Callable[[Store], Awaitable[Any]]) -> Any:
        """Ask both, compare the answers, and return the model's; nothing if both refused alike."""
        expected, answer = self._wait(_outcome(ask(self.model))), self._wait(_outcome(ask(self.store)))
        if isinstance(expected, Limited) and isinstance(answer, Limited):
            assert self.own_clock or abs(expected.retry_after_s - answer.retry_after_s) < 0.001
            return []
        if isinstance(expected, Exception):
            assert type(answer) is type(expected), f"{answer!r} instead of {expected!r}"
            return []
        assert self._plain(answer) == self._plain(expected)
        return expected

    def _both_write(self, ask: Callable[[Store], Awaitable[Any]]) -> Any:
        """As `_same`; then both hold the same tasks."""
        expected = self._same(ask)
        self._same(lambda store: store.find_tasks(Query(limit=200)))
        return expected

    def _plain(self, answer: Any) -> Any:
        """An answer without what stores may choose: the numbers of positions, the text of cursors, and their times."""
        match answer:
            case Receipt():
                ranks = [position > 0 for position in answer.positions]
                assert sorted(filter(None, answer.positions)) == list(filter(None, answer.positions))
                return list(answer.versions), ranks, None if self.own_clock else answer.time
            case Event():
                return replace(answer, position=0, time=None if self.own_clock else answer.time)  # type: ignore[arg-type]
            case Task() if self.own_clock:
                times = dict.fromkeys(("created", "updated", "ended", "deadline"))
                return replace(answer, due=None, **times), answer.due is None  # type: ignore[arg-type]
            case Record() if self.own_clock:
                return replace(answer, created=None, updated=None)
            case list() | tuple():
                return [self._plain(one) for one in answer]
        if hasattr(answer, "cursor"):
            return self._plain(list(answer.items)), answer.cursor is None
        if hasattr(answer, "token") and hasattr(answer, "task"):
            return self._plain(answer.task)
        return answer

    def _wait(self, call: Awaitable[Any]) -> Any:
        async def wait() -> Any:
            return await call

        return self.runner.run(wait())


async def _whole(store: Store, id: str) -> Any:
    return [await store.get_task(id), await store.journal(id)]


async def _page(store: Store, query: Query) -> Any:
    return await store.find_tasks(query)


async def _outcome(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except OpspawnError as error:
        return error
