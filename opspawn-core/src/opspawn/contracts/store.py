"""Where truth lives: records, journals and claims. Domain rules live above, in `opspawn.ops`.

Rules that every store keeps, whatever its technology:

* A `Batch` is applied whole or not at all, in the order of its operations. `Conflict` means: nothing was applied.
* Only the store's clock counts. Times in a batch are offsets in seconds, resolved inside the commit.
* `Task.version` is raised by every `Put` of the task and guards read-modify-write.
  `Task.token` is raised by a claim and by whatever ends a claim, and is the fence: a `Put` or `Append` that carries a
  token is refused with `Conflict` unless it equals the task's current token. `Append`, `Wake` and `renew` raise
  neither.
* A terminal task never changes: a `Put` on it is a `Conflict`; an `Append` without token and a `Wake` do nothing.
* A `Wake` raises `Task.wakes`, which no `Put` writes. A task put as `waiting` with `wake_at=n` is due at once when
  `wakes >= n`, or when an urgent wake arrived that `wakes_seen` does not cover yet; so nothing is lost between looking
  and parking.
* A running task whose lease ended is due, like any other: a dead worker's tasks come back without a leader. A claim of
  such a task raises `deliveries`; a task that was given back by a `Put` starts again with the `deliveries` that the
  `Put` carries.
* The journal order of a task is its commit order. `tail` never shows an event before all earlier positions are decided.
* A `Batch` and a `Claim` may carry an id. The same id again, within `REMEMBERED_S`, returns the first answer and
  applies nothing: so whoever lost a reply just asks again.
* The holds of a task are taken by its claim, all or none. `while_="running"` ends with the claim, however it ends: by a
  Put, by another claim, or when the lease runs out. `"unfinished"` ends with the task, through parking and lost leases.
  A claim never leases a task whose hold would exceed its limit: such a task stands in that key's line, in the order of
  rank, and is not looked at again until a place is free. A lease that ran out and whose place was given away meanwhile
  is not renewed unless there is room for it again.
* A closed lane (`SetLane`) is served to no claim. A task that a `Wake(cancel=True)` asked to end is served even from
  there, takes no place, and needs none.
* A value (`input`, `result`, an event's `data`) whose JSON is longer than `INLINE_BYTES` is kept once, by its digest.
  One task, one journal and a claim return it whole; pages (`find_tasks`, `events`, `tail`) show a stand-in
  `{"$payload": digest, "bytes": n}` in its place, and `payload` returns it. A Put that carries the stand-in of the
  task's own value leaves that value as it is.
* Positions are never given twice, not even after a `Delete`. The store's clock never goes back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import Any, Generic, Literal, Protocol, TypeVar

from opspawn.contracts.events import Event, NewEvent, TaskDelta


class TaskState(StrEnum):
    """`running` needs a live lease; `waiting` parks for children or time; `paused` and `in_doubt` wait for a human."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    IN_DOUBT = "in_doubt"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether the task has ended for good."""
        return self in _TERMINAL

    @property
    def words(self) -> str:
        """For sentences: "is running", "has succeeded", "is in doubt"."""
        return f"{'has' if self in ('succeeded', 'failed') else 'is'} {self.replace('_', ' ')}"


_TERMINAL = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Hold:
    """A place under a concurrency key: at most `limit` tasks (1 or more) hold the key at once, over all workers.

    `while_` says until when: "running" until the claim ends, "unfinished" until the task ends, parked time included.
    """

    key: str
    limit: int
    while_: Literal["running", "unfinished"] = "running"


@dataclass(slots=True)  # not frozen, as `NewEvent`: each run makes several, of 29 fields, in a ninth of the time
class Task:
    """The one unit of durable work. Nobody changes one: `but` makes another.

    The first group is written by `ops` through `Put`; the second belongs to the store, and a `Put` never writes it.

    Attributes:
        handler: what runs, as "agent/NAME", "workflow/NAME" or "function/NAME". Queue and handler are its lane.
        input, result: any JSON. error: `{"type", "message", ...}` of a task that failed, is paused or in doubt.
        priority: a head start in a claim's order of `HEAD_START_S` per unit, -1000 to 1000; negative to stand back.
        strict: whether a unit counts `STRICT_HEAD_START_S` instead: before any waiting time, so that others may starve.
        holds: concurrency keys that a claim must find free, at most `MAX_HOLDS`, each key once.
        deadline: when the whole tree must have ended; children carry their parent's. `Put.deadline_in_s` sets it.
        retry: the fields of a `RetryPolicy` for the whole task; None for the default of its handler.
        attempt: failures of the task so far. deliveries: consecutive claims that ended by the lease and not by a `Put`.
        due: when it may be claimed; None is never. Queued: when it may start; running: when its lease ends.
    """

    id: str
    handler: str
    root: str
    queue: str = "default"
    state: TaskState = TaskState.QUEUED
    priority: int = 0
    parent: str | None = None
    agent: str | None = None
    session: str | None = None
    input: Any = None
    result: Any = None
    error: dict[str, Any] | None = None
    attempt: int = 0
    retry: Mapping[str, Any] | None = None
    timeout_s: float | None = None
    deliveries: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    retry_of: str | None = None
    strict: bool = False
    holds: tuple[Hold, ...] = ()
    deadline: datetime | None = None

    version: int = 0
    token: int = 0
    wakes: int = 0
    owner: str | None = None
    due: datetime | None = None
    created: datetime | None = None
    updated: datetime | None = None
    ended: datetime | None = None

    def but(self, **fields: Any) -> Task:
        """Return one like it, but for these fields; `dataclasses.replace` takes three times as long."""
        copy = Task(*_VALUES(self))
        for name, value in fields.items():
            setattr(copy, name, value)
        return copy


_VALUES = attrgetter(*Task.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Record:
    """Anything else that is kept by kind and id (a session, an agent's state, a pinned workflow): a JSON object with a
    version.

    `fields` are the few short texts by which `find` searches this kind, e.g. `{"agent": "helper"}`; at most 8, names of
    1 to 32 letters, digits and "_". `created` and `updated` are the store's.
    """

    kind: str
    id: str
    data: Mapping[str, Any]
    version: int = 0
    fields: Mapping[str, str] = field(default_factory=dict)
    created: datetime | None = None
    updated: datetime | None = None


@dataclass(slots=True)
class Put:
    """Write a record whole.

    Args:
        expect: the version that must stand in the store; 0 means it must not exist yet.
        token: for a claimed task, the claim's token; the Put must then carry another state than `running` and ends the
            claim.
        due_in_s: tasks only: seconds from the commit until it may be claimed; None is never.
        wake_at, wakes_seen: tasks put as `waiting` only; see the rules above.
        deadline_in_s: tasks only: sets `deadline`, in seconds from the commit; None keeps the record's own.
    """

    record: Task | Record
    expect: int
    token: int | None = None
    due_in_s: float | None = 0.0
    wake_at: int | None = None
    wakes_seen: int = 0
    deadline_in_s: float | None = None


@dataclass(slots=True)  # this, `Put`, `Batch` and `Receipt` are not frozen: see `NewEvent`
class Append:
    """Add an event to a task's journal; with `token` it is fenced, without it is an inbox event.

    With `task=None` the event belongs to no task (an agent's state changed, a session ended): `agent` and `session` say
    whose it is, and count only then.
    """

    task: str | None
    event: NewEvent
    token: int | None = None
    agent: str | None = None
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Wake:
    """Raise a task's `wakes`; `urgent` makes a waiting task due whatever it waits for.

    `cancel` says that the news is a request to end: the task is then served even from a closed lane, and needs no free
    place under its holds.
    """

    task: str
    urgent: bool = False
    cancel: bool = False


@dataclass(frozen=True, slots=True)
class Take:
    """Spend `amount` of a rate: a bucket of `burst` units that refills by `per_s` units a second (GCRA, ITU-T I.371).

    What is not there is not granted: the commit raises `Limited`, and nothing of the batch is applied. A negative
    amount gives back, up to a full bucket. `force` spends in any case, into debt: how an estimate is settled with what
    a call really used. An amount above `burst` is granted when the bucket is full, into debt.
    """

    key: str
    amount: float
    per_s: float
    burst: float
    force: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a record at a version; or (kind "task") an ended task with its journal and what it alone refers to; or
    (kind "event", its position as `id`, `expect` 0) an event that belongs to no task.

    Another version, a task that has not ended, a task's event, and what is not there are a `Conflict`.
    """

    kind: str
    id: str
    expect: int


@dataclass(frozen=True, slots=True)
class Check:
    """Let the batch hold only while a record, which is no task, stands at a version; 0: it is not there.

    It writes nothing, so that many may check the same at once. Another version is a `Conflict`.
    """

    kind: str
    id: str
    expect: int


@dataclass(frozen=True, slots=True)
class SetLane:
    """Open or close the lane of a handler, in all queues; new lanes are open."""

    handler: str
    open: bool


Operation = Put | Append | Wake | Take | Delete | Check | SetLane

MAX_OPERATIONS = 500
MAX_BATCH_BYTES = 4 * 1024 * 1024
INLINE_BYTES = 32 * 1024
REMEMBERED_S = 60.0
HEAD_START_S = 60.0
STRICT_HEAD_START_S = 100.0 * 365 * 86400
MAX_PRIORITY = 1000
MAX_HOLDS = 8
MAX_FIELDS = 8


@dataclass(slots=True)
class Batch:
    """Operations that are applied together; at most `MAX_OPERATIONS` and `MAX_BATCH_BYTES`.

    `id` (optional, unique per attempt to say the same) makes the commit safe to repeat after a lost reply.
    """

    operations: Sequence[Operation]
    id: str | None = None


@dataclass(slots=True)
class Receipt:
    """What a commit did: the new version of each Put and the position of each Append, in the order of the batch.

    An Append that did nothing (inbox of a terminal or absent task) has position 0. `time` is the store's, aware UTC.
    """

    versions: Sequence[int]
    positions: Sequence[int]
    time: datetime


#: See `Store.claim`.
CLAIMED_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Claim:
    """Ask for due tasks of the lanes `queues` x `handlers`, at most `slots`, leased to `worker` for `lease_s`
    seconds; `ending_only`: none but those that a `Wake(cancel=True)` asked to end. `id` makes the claim safe to repeat
    after a lost reply.
    """

    worker: str
    queues: Sequence[str]
    handlers: Sequence[str]
    slots: int
    lease_s: float
    id: str | None = None
    ending_only: bool = False


@dataclass(frozen=True, slots=True)
class Lease:
    """A claimed task as the claim left it: state `running`, with the new token."""

    task: Task

    @property
    def token(self) -> int:
        """The fence that every write under this lease carries."""
        return self.task.token


@dataclass(frozen=True, slots=True)
class LeaseStatus:
    """After a renewal: whether the lease still holds, and the task's `wakes` (more than before means news in the
    journal).
    """

    task: str
    kept: bool
    wakes: int


@dataclass(frozen=True, slots=True)
class Query:
    """Which records: equality on declared fields (tasks: id, state, handler, queue, parent, root, agent, session,
    retry_of; others: id and their `fields`).

    `labels` (tasks only) must all match. `after` and `before` bound the creation time, `ended_before` the end of a
    task, half open. Newest first. `limit` is 1 to 200; `cursor` is a former page's.
    """

    where: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    after: datetime | None = None
    before: datetime | None = None
    ended_before: datetime | None = None
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events: every given field must match; `types` any of them; `root` a whole tree of tasks; `apart` those of
    no task.

    `position` starts after that position; `after` and `before` bound the time, half open. Oldest first, at most `limit`
    (1 to 1000). With `newest=True` the last `limit` matches, still oldest first.
    """

    task: str | None = None
    root: str | None = None
    agent: str | None = None
    session: str | None = None
    error_type: str | None = None
    level: str | None = None
    types: Sequence[str] = ()
    position: int = 0
    after: datetime | None = None
    before: datetime | None = None
    limit: int = 200
    newest: bool = False
    apart: bool = False


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items, and the cursor that continues; None at the end."""

    items: Sequence[T]
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a diagnosis: `level` is "ok", "warning" or "error"; `remedy` says what to do about the latter two."""

    level: Literal["ok", "warning", "error"]
    what: str
    remedy: str | None = None


class Store(Protocol):
    """A durable store. Every method may be called from any event loop of the process that opened it.

    Raises (every method): `StoreError` when the store fails; the call then had no effect unless its reply was lost.

    A store that can lose what it confirmed, as a server does that fails over, has an attribute `alarm` as well: None,
    or since then a sentence for whoever operates it. The process is not ready any more, and a person judges: the event
    `store.acknowledged` ends it. A store may have a method `async ready()`, too, which `/readyz` calls: it raises a
    StoreError, with the reason, while writes would be refused, or its server is unfit or has lost what it confirmed.

    A store that can lease to a worker what becomes ready while it waits, without being asked, has a method
    `give_to(worker, look)`, which a worker calls before its first claim; `look` is called when its next claim will
    return something at once.

    A store that waits for a server has a method `stopping(after_s)`: this process stops, and from so many seconds on no
    call of the store may wait for long.
    """

    name: str

    async def commit(self, batch: Batch) -> Receipt:
        """Apply a batch, all or nothing, and return once it is durable.

        Raises:
            Conflict: a version, a fence or an existence did not hold; nothing was applied.
            Limited: a `Take` was not granted; carries when to come back; nothing was applied.
        """
        ...

    async def claim(self, claim: Claim) -> list[Lease]:
        """Lease due tasks, lowest rank first, and journal `task.claimed` for each.

        The rank is `due` less the head start; see `Task.priority` and `Task.strict`. A store may give fewer than asked
        for while more are due, but no fewer than `CLAIMED_AT_ONCE`: who is given so many asks again.
        """
        ...

    async def renew(self, worker: str, leases: Sequence[tuple[str, int]], lease_s: float) -> list[LeaseStatus]:
        """Prolong leases, given as (task, token), in one call; the answer has their order."""
        ...

    async def wakes(self, tasks: Sequence[str]) -> dict[str, int]:
        """The `wakes` of tasks, cheaply: how a worker sees within a second that there is news for what it runs."""
        ...

    async def get(self, kind: str, id: str) -> Record | None:
        """A record other than a task, or None."""
        ...

    async def get_task(self, id: str) -> Task | None:
        """A task, or None."""
        ...

    async def find_tasks(self, query: Query) -> Page[Task]:
        """Tasks that match, newest first."""
        ...

    async def find(self, kind: str, query: Query) -> Page[Record]:
        """Records of a kind other than tasks that match, newest first."""
        ...

    async def payload(self, digest: str) -> Any:
        """The value that a page shows as `{"$payload": digest, ...}`. Raises: NotFound."""
        ...

    async def journal(self, task: str, after: int = 0) -> list[Event]:
        """The events of one task after a position, all of them, oldest first."""
        ...

    async def events(self, query: EventQuery) -> list[Event]:
        """Events over all tasks; see `EventQuery`."""
        ...

    def publish(self, deltas: Sequence[TaskDelta]) -> None:
        """Offer deltas to whoever tails. Best effort: never blocks, never fails, may drop."""
        ...

    def tail(self, after: int | None = None, *, types: Sequence[str] = ()) -> AsyncIterator[Event | TaskDelta]:
        """Events as they are committed, after a position (None: from now), and deltas between them; endless.

        With `types`, only events of these types, and no deltas.
        """
        ...

    async def check(self) -> Sequence[Finding]:
        """What an operator should know of this store's health and durability, worst first; reads, never mends."""
        ...

    async def aclose(self) -> None:
        """Finish what was accepted, give up leases and locks, close. Idempotent."""
        ...
