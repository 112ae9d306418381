"""What a worker does with leases, inside the transaction: claim, renew, give up."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Sequence
from typing import Any

from opspawn.contracts.store import Claim, Lease, LeaseStatus, Task
from opspawn.stores import operations, payloads, places, rows
from opspawn.stores.locks import WorkerLocks
from opspawn.stores.places import Lane
from opspawn.stores.transaction import Transaction

_CLAIMED = "task.claimed"
_PROMOTED_AT_ONCE = 1000  # per lane and claim, so that a claim stays short whatever became due meanwhile

# The words of the partial indexes must stand here literally, or SQLite does not use them.
_PROMOTE = (
    "UPDATE tasks SET ready = CASE WHEN cancel = 1 THEN 3 WHEN line IS NULL THEN 1 ELSE 2 END, rank = due - head_start "
    "WHERE seq IN (SELECT seq FROM tasks WHERE queue = ? AND handler = ? "
    f"AND ready = 0 AND due IS NOT NULL AND due <= ? ORDER BY due LIMIT {_PROMOTED_AT_ONCE}) RETURNING line"
)
# Of each handler of a queue: whether something became due, is ready, is to end; whether its lane is closed; whether a
# lease ran out that held places. Mostly nothing is, and this is all.
_THERE = "EXISTS (SELECT 1 FROM tasks WHERE queue = ? AND handler = value AND ready = "
_LANES = (
    f"SELECT value, {_THERE}0 AND due IS NOT NULL AND due <= ?), {_THERE}1), {_THERE}3), "
    "EXISTS (SELECT 1 FROM closed WHERE handler = value), "
    "EXISTS (SELECT 1 FROM tasks WHERE places = 2 AND due <= ?) FROM json_each(?)"
)
_NEXT = (
    "SELECT rank, seq, line, holds FROM tasks WHERE queue = ? AND handler = ? AND ready = 1 AND (rank, seq) > (?, ?) "
    "ORDER BY rank, seq LIMIT ?"
)
_NEXT_ENDING = (
    "SELECT rank, seq, NULL, NULL FROM tasks WHERE queue = ? AND handler = ? AND ready = 3 AND (rank, seq) > (?, ?) "
    "ORDER BY rank, seq LIMIT ?"
)
_LEAVE_LINE = "UPDATE tasks SET ready = 0 WHERE seq = ?"
_MOVE_TO_LINE = "UPDATE tasks SET ready = 2, line = ? WHERE seq = ?"
_LEASE = (
    "UPDATE tasks SET deliveries = deliveries + (state = 'running'), state = 'running', owner = ?, token = token + 1, "
    "ready = 0, due = ?, wake_at = NULL, updated = ? "  # guard: what is leased is due when its lease ends
    f"WHERE seq IN (SELECT value FROM json_each(?)) RETURNING {rows.TASK_COLUMNS}, seq"
)
# A running task with a line had places, which are gone if `places` is not 2: it needs them again, unless it is to end.
_RENEW = (
    "UPDATE tasks SET ready = 0, due = ? WHERE id = ? AND token = ? AND state = 'running' AND owner = ? "
    "AND (line IS NULL OR places = 2 OR cancel = 1) RETURNING wakes"
)
_UNPLACED = (
    "SELECT seq, holds, line, queue, handler FROM tasks WHERE id = ? AND token = ? AND state = 'running' AND owner = ?"
)
_WAKES = "SELECT wakes FROM tasks WHERE id = ?"
_END_LEASES = "UPDATE tasks SET ready = 0, due = ? WHERE owner = ?"


#: What is asked for, and who is alive.
Asked = tuple[Claim, WorkerLocks | None]


def claim(tx: Transaction, asked: Asked) -> list[Lease]:
    """Lease what is due in the lanes of a claim, lowest rank first, and journal it."""
    leases = take(tx, asked)
    if leases:
        operations.append_all(tx, told(tx, leases))
    return leases


def told(tx: Transaction, leases: Iterable[Lease]) -> list[tuple[Any, ...]]:
    """What is to be appended for new leases."""
    tx.types.add(_CLAIMED)
    return [(_CLAIMED, "info", "", _words(lease.task), lease.task.id, lease.token) for lease in leases]


def _words(task: Task) -> str:
    words = {"worker": task.owner, "token": task.token, "deliveries": task.deliveries}
    return rows.dump(words, _CLAIMED)


def open_lanes(tx: Transaction, asked: Asked) -> set[Lane] | None:
    """The open lanes of a claim, if nothing in its lanes can be claimed now: all that it can get is then what becomes
    ready in this transaction. Else None. The dead lose their leases before.
    """
    claim, locks = asked
    if claim.ending_only or claim.slots <= 0:
        return None
    if locks is not None:
        _bury(tx, locks, claim.worker)
    handlers = json.dumps(claim.handlers)
    lanes = set()
    for queue in claim.queues:
        for handler, overdue, ready, ending, closed in _lanes(tx, queue, handlers):
            if overdue or ready or ending:  # guard: who waits longer, or has a head start, is claimed before
                return None
            if not closed:
                lanes.add((queue, handler))
    return lanes


def take(tx: Transaction, asked: Asked) -> list[Lease]:
    """As `claim`, without the journal."""
    claim, locks = asked
    if locks is not None:
        _bury(tx, locks, claim.worker)
    due = _Due(tx, claim.slots)
    handlers = json.dumps(claim.handlers)
    for queue in claim.queues:
        for handler, overdue, ready, ending, closed in _lanes(tx, queue, handlers):
            lane = (queue, handler)
            if overdue:
                _promote(tx, lane)
            if ending or overdue:
                due.add(lane, _NEXT_ENDING)
            if (ready or overdue) and not closed and not claim.ending_only:
                due.add(lane, _NEXT)
    chosen: list[int] = []
    while len(chosen) < claim.slots and (found := due.pop()) is not None:
        seq, lane, line, holds = found
        if line is None or _take_places(tx, due, seq, lane, line, holds):
            chosen.append(seq)
    return _lease(tx, chosen, claim) if chosen else []


def _lanes(tx: Transaction, queue: str, handlers: str) -> list[tuple[str, int, int, int, int]]:
    """What `_LANES` says of each handler, once places that nobody holds any more are free."""
    asked = (queue, tx.now, queue, queue, tx.now, handlers)
    found = tx.execute(_LANES, asked).fetchall()
    if found and found[0][-1]:
        places.free_expired(tx)
        found = tx.execute(_LANES, asked).fetchall()
    return [row[:-1] for row in found]


class _Due:
    """The ready tasks of some lanes, lowest rank first, fetched as they are needed."""

    def __init__(self, tx: Transaction, slots: int) -> None:
        self._tx = tx
        self._slots = slots
        self._heap: list[tuple[int, int, int, str | None, str | None]] = []  # rank, seq, source, line, holds
        self._sources: list[tuple[Lane, str]] = []
        self._left: list[int] = []  # how many of each source's are in the heap; -1 when there are no more
        self._reached: list[tuple[int, int]] = []
        self._seen: set[int] = set()

    def add(self, lane: Lane, select: str) -> None:
        """Serve from this lane as well."""
        self._sources.append((lane, select))
        self._left.append(0)
        self._reached.append((-(1 << 63), 0))

    def push(self, lane: Lane, rank: int, seq: int, line: str, holds: str | None) -> None:
        """One that became ready meanwhile; nothing if the lane is not among ours."""
        source = next((n for n, one in enumerate(self._sources) if one == (lane, _NEXT)), None)
        # One that lies behind what was fetched will be fetched.
        if source is not None and (self._left[source] < 0 or (rank, seq) <= self._reached[source]):
            heapq.heappush(self._heap, (rank, seq, source, line, holds))
            if self._left[source] >= 0:
                self._left[source] += 1

    def pop(self) -> tuple[int, Lane, str | None, str | None] | None:
        """The next one, as seq, lane, line and holds."""
        while True:
            for source, left in enumerate(self._left):
                if left == 0:
                    self._fetch(source)
            if not self._heap:
                return None
            _, seq, source, line, holds = heapq.heappop(self._heap)
            if self._left[source] > 0:
                self._left[source] -= 1
            if seq not in self._seen:
                self._seen.add(seq)
                return seq, self._sources[source][0], line, holds

    def _fetch(self, source: int) -> None:
        lane, select = self._sources[source]
        found = self._tx.execute(select, (*lane, *self._reached[source], self._slots)).fetchall()
        for rank, seq, line, holds in found:
            heapq.heappush(self._heap, (rank, seq, source, line, holds))
        self._left[source] = len(found) if len(found) == self._slots > 0 else -1
        if found:
            self._reached[source] = found[-1][:2]


def _promote(tx: Transaction, lane: Lane) -> None:
    """Make ready what became due meanwhile."""
    lines = {line for (line,) in tx.execute(_PROMOTE, (*lane, tx.now)).fetchall()}
    for line in lines:
        if line is not None:
            places.step_forward(tx, line, lane)


def _take_places(tx: Transaction, due: _Due, seq: int, lane: Lane, line: str, text: str | None) -> bool:
    """Take the places of the first of a line; if one is not free, it goes to that line. The next steps forward."""
    holds = rows.holds(text)
    has = places.mine(tx, seq)
    full = places.full(tx, holds, has)
    if full is None:
        tx.execute(_LEAVE_LINE, (seq,))
        places.take(tx, seq, holds, has)
    else:
        tx.execute(_MOVE_TO_LINE, (full, seq))
    if full != line and (first := places.step_forward(tx, line, lane)) is not None:
        due.push(lane, *first)
    return full is None


def _lease(tx: Transaction, chosen: Sequence[int], claim: Claim) -> list[Lease]:
    leased = tx.execute(_LEASE, (claim.worker, lease_end(tx, claim), tx.now, json.dumps(chosen))).fetchall()
    fetch = payloads.fetching(tx.execute)
    tasks = {row[-1]: rows.task(row[:-1], fetch) for row in leased}
    return [Lease(tasks[seq]) for seq in chosen]


def lease_end(tx: Transaction, claim: Claim) -> int:
    """When what is claimed now comes back by itself."""
    return tx.now + round(claim.lease_s * 1_000_000)


def _bury(tx: Transaction, locks: WorkerLocks, worker: str) -> None:
    if locks.reborn(worker):  # whatever stands under this name was claimed by a former life
        end_leases(tx, [worker])
        tx.finally_.append(lambda committed: None if committed else locks.still_reborn(worker))
    for dead in locks.dead():
        tx.finally_.append(dead.bury)
        end_leases(tx, [dead.worker])


def end_leases(tx: Transaction, workers: Iterable[str]) -> None:
    """Make all that these workers run due at once; the next claim of it counts as a lost delivery."""
    for worker in workers:
        tx.execute(_END_LEASES, (tx.now, worker))


def renew(tx: Transaction, arguments: tuple[str, Sequence[tuple[str, int]], float]) -> list[LeaseStatus]:
    """Prolong leases that nobody claimed meanwhile, even if they had run out, as far as their places are still free.

    Arguments: worker, leases, lease_s.
    """
    worker, leases, lease_s = arguments
    places.free_expired(tx)
    ends = tx.now + round(lease_s * 1_000_000)
    statuses = []
    for task, token in leases:
        lease = (task, token, worker)
        kept = tx.execute(_RENEW, (ends, *lease)).fetchall()
        if not kept and _take_again(tx, lease):
            kept = tx.execute(_RENEW, (ends, *lease)).fetchall()
        wakes = kept or tx.execute(_WAKES, (task,)).fetchall()
        statuses.append(LeaseStatus(task, bool(kept), wakes[0][0] if wakes else 0))
    return statuses


def _take_again(tx: Transaction, lease: tuple[str, int, str]) -> bool:
    """Take the places that a lease lost when it ran out; False if one is not free, or it is no lease any more."""
    row = tx.execute(_UNPLACED, lease).fetchone()
    if row is None:
        return False
    seq, text, line, *lane = row
    holds = rows.holds(text)
    has = places.mine(tx, seq)
    if places.full(tx, holds, has) is not None:
        return False
    tx.execute(_LEAVE_LINE, (seq,))
    places.take(tx, seq, holds, has)
    places.step_forward(tx, line, (lane[0], lane[1]))
    return True
