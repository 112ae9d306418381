"""What a worker does with leases, inside the transaction: claim, renew, give up."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

from opspawn.contracts.events import NewEvent
from opspawn.contracts.store import Claim, Lease, LeaseStatus
from opspawn.stores import operations, rows
from opspawn.stores.locks import WorkerLocks
from opspawn.stores.transaction import Transaction

_PROMOTED_AT_ONCE = 1000  # per lane and claim, so that a claim stays short whatever became due meanwhile

# The words of both partial indexes must stand here literally, or SQLite does not use them.
_PROMOTE = (
    "UPDATE tasks SET ready = 1 WHERE seq IN (SELECT seq FROM tasks WHERE queue = ? AND handler = ? "
    f"AND ready = 0 AND due IS NOT NULL AND due <= ? ORDER BY due LIMIT {_PROMOTED_AT_ONCE})"
)
_NEXT = "SELECT rank, seq FROM tasks WHERE queue = ? AND handler = ? AND ready = 1 ORDER BY rank, seq LIMIT ?"
_LEASE = (
    "UPDATE tasks SET deliveries = deliveries + (state = 'running'), state = 'running', owner = ?, token = token + 1, "
    "ready = 0, due = ?, rank = ? - ? * priority, wake_at = NULL, updated = ? WHERE seq = ? "
    f"RETURNING {rows.TASK_COLUMNS}"
)
_RENEW = (
    "UPDATE tasks SET ready = 0, due = ?, rank = ? - ? * priority "
    "WHERE id = ? AND token = ? AND state = 'running' AND owner = ? RETURNING wakes"
)
_WAKES = "SELECT wakes FROM tasks WHERE id = ?"
_END_LEASES = "UPDATE tasks SET ready = 1, due = ?, rank = ? - ? * priority WHERE owner = ?"


def claim(tx: Transaction, claim: Claim, locks: WorkerLocks | None) -> list[Lease]:
    """Lease what is due in the lanes of `claim`, lowest rank first; the dead lose their leases before."""
    if locks is not None:
        _bury(tx, locks, claim.worker)
    found: list[tuple[int, int]] = []
    for queue in claim.queues:
        for handler in claim.handlers:
            tx.execute(_PROMOTE, (queue, handler, tx.now))
            found += tx.execute(_NEXT, (queue, handler, claim.slots)).fetchall()
    lease_end = tx.now + round(claim.lease_s * 1_000_000)
    return [_lease(tx, seq, claim.worker, lease_end) for _, seq in heapq.nsmallest(claim.slots, found)]


def _lease(tx: Transaction, seq: int, worker: str, lease_end: int) -> Lease:
    arguments = (worker, lease_end, lease_end, operations.HEAD_START, tx.now, seq)
    task = rows.task(tx.execute(_LEASE, arguments).fetchall()[0])
    data = {"worker": worker, "token": task.token, "deliveries": task.deliveries}
    operations.append(tx, task.id, task.token, NewEvent("task.claimed", data))
    return Lease(task)


def _bury(tx: Transaction, locks: WorkerLocks, worker: str) -> None:
    if locks.reborn(worker):  # whatever stands under this name was claimed by a former life
        end_leases(tx, [worker])
    for dead in locks.dead():
        tx.finally_.append(dead.bury)
        end_leases(tx, [dead.worker])


def end_leases(tx: Transaction, workers: Iterable[str]) -> None:
    """Make all that these workers run due at once; the next claim of it counts as a lost delivery."""
    for worker in workers:
        tx.execute(_END_LEASES, (tx.now, tx.now, operations.HEAD_START, worker))


def renew(tx: Transaction, arguments: tuple[str, Sequence[tuple[str, int]], float]) -> list[LeaseStatus]:
    """Prolong leases that nobody claimed meanwhile, even if they had run out. Arguments: worker, leases, lease_s."""
    worker, leases, lease_s = arguments
    lease_end = tx.now + round(lease_s * 1_000_000)
    statuses = []
    for task, token in leases:
        kept = tx.execute(_RENEW, (lease_end, lease_end, operations.HEAD_START, task, token, worker)).fetchall()
        wakes = kept or tx.execute(_WAKES, (task,)).fetchall()
        statuses.append(LeaseStatus(task, bool(kept), wakes[0][0] if wakes else 0))
    return statuses
