"""Concurrency keys: who has a place, and the lines of those who wait for one.

A task that is due and lacks a place stands in the line of one key that it needs (`tasks.line`, `ready = 2`), apart for
each lane, by rank. Of each line whose key has room, the first stands among the ready (`ready = 1`) in the name of all:
so a claim meets one task per line, however long the line is. When a claim leases it, the next steps forward if there
is still room; when a place is freed, the first of each lane does.

The first of a line that a claim finds blocked goes to the line of the key that is full. That may happen when several
lanes share a key, since each has sent its first, or when a task needs several keys: at most once per place that was
freed and lane, so a claim stays as long as what it leases.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from opspawn.contracts.store import Hold
from opspawn.stores import rows
from opspawn.stores.transaction import Transaction

Lane = tuple[str, str]  # queue, handler
_FREED_AT_ONCE = 1000

_FIRST = (
    "SELECT seq, rank, holds FROM tasks WHERE line = ? AND queue = ? AND handler = ? AND ready = ? "
    "ORDER BY rank, seq LIMIT 1"
)
_READY = "UPDATE tasks SET ready = ? WHERE seq = ?"
_NEXT_LANE = (
    "SELECT queue, handler FROM tasks WHERE line = ? AND (queue, handler) > (?, ?) ORDER BY queue, handler LIMIT 1"
)
_HELD = "SELECT held FROM keys WHERE key = ?"
_MINE = "SELECT key FROM places WHERE task = ?"
_TAKE = "INSERT INTO places (task, key, lasting) VALUES (?, ?, ?)"
_COUNT = "INSERT INTO keys (key, held) VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET held = held + 1"
_LEAVE = "DELETE FROM places WHERE task = ? AND lasting <= ? RETURNING key, lasting"
_LEFT = "SELECT count(*) FROM places WHERE task = ?"
_DISCOUNT = "UPDATE keys SET held = held - 1 WHERE key = ?"
_FORGET = "DELETE FROM keys WHERE key = ? AND held = 0"
_STAND = "UPDATE tasks SET places = ?, line = ? WHERE seq = ?"
_EXPIRED = f"SELECT seq FROM tasks WHERE places = 2 AND due <= ? ORDER BY due LIMIT {_FREED_AT_ONCE}"


def full(tx: Transaction, holds: Sequence[Hold], mine: set[str]) -> str | None:
    """The first key that has no room for a task, which has its places under `mine` already; None if all have."""
    for hold in holds:
        if hold.key not in mine and not _room(tx, hold):
            return hold.key
    return None


def mine(tx: Transaction, seq: int) -> set[str]:
    """The keys under which a task has a place."""
    return {key for (key,) in tx.execute(_MINE, (seq,)).fetchall()}


def take(tx: Transaction, seq: int, holds: Sequence[Hold], has: set[str]) -> None:
    """Give a task its places, which must be free; `has` are those it has already."""
    for hold in holds:
        if hold.key not in has:
            tx.execute(_TAKE, (seq, hold.key, hold.while_ == "unfinished"))
            tx.execute(_COUNT, (hold.key,))
    passing = [hold.key for hold in holds if hold.while_ == "running"]
    tx.execute(_STAND, (2 if passing else 1, passing[0] if passing else None, seq))


def leave(tx: Transaction, seq: int, *, all: bool) -> None:
    """Free the places of a task that end with its claim, or all of them, and let those who wait step forward."""
    freed = [key for key, _ in tx.execute(_LEAVE, (seq, int(all))).fetchall()]
    for key in freed:
        tx.execute(_DISCOUNT, (key,))
        tx.execute(_FORGET, (key,))
    left = tx.execute(_LEFT, (seq,)).fetchone()[0]
    tx.execute("UPDATE tasks SET places = ? WHERE seq = ?", (int(left > 0), seq))
    for key in freed:
        for lane in _lanes(tx, key):
            step_forward(tx, key, lane)


def free_expired(tx: Transaction) -> None:
    """Free the places of those whose lease ran out."""
    for (seq,) in tx.execute(_EXPIRED, (tx.now,)).fetchall():  # guard: a lease that ran out holds nothing
        leave(tx, seq, all=False)


def step_forward(tx: Transaction, key: str, lane: Lane) -> tuple[int, int, str, str] | None:
    """Let the first of a line stand among the ready if its key has room; returns its rank, seq, line and holds then."""
    waiting = tx.execute(_FIRST, (key, *lane, 2)).fetchone()
    shown = tx.execute(_FIRST, (key, *lane, 1)).fetchone()
    first = min((row for row in (waiting, shown) if row is not None), key=lambda row: (row[1], row[0]), default=None)
    if first is None or not any(_room(tx, hold) for hold in rows.holds(first[2]) if hold.key == key):
        return None
    if first is waiting:
        if shown is not None:
            tx.execute(_READY, (2, shown[0]))
        tx.execute(_READY, (1, first[0]))
    return first[1], first[0], key, first[2]


def _room(tx: Transaction, hold: Hold) -> bool:
    row = tx.execute(_HELD, (hold.key,)).fetchone()
    return row is None or row[0] < hold.limit  # guard: no more places than the limit


def _lanes(tx: Transaction, key: str) -> Iterator[Lane]:
    lane = ("", "")
    while (row := tx.execute(_NEXT_LANE, (key, *lane)).fetchone()) is not None:
        lane = row
        yield lane
