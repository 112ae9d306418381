"""What a commit does: the operations of a batch.

`prepare` runs in the caller's thread: it checks and serialises, so that a caller's mistake costs nobody else anything.
What it returns is applied by `apply` inside the transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from opspawn.contracts.store import (
    MAX_BATCH_BYTES,
    MAX_OPERATIONS,
    Append,
    Batch,
    Delete,
    Operation,
    Put,
    Receipt,
    SetLane,
    Take,
    Task,
    Wake,
)
from opspawn.errors import StoreError
from opspawn.stores import apart, rates, records, rows, tasks
from opspawn.stores.payloads import Large
from opspawn.stores.storetime import HIGHEST
from opspawn.stores.transaction import Transaction

#: How to apply it; whether the outcome is a "version", a "position" or nothing; its arguments; bytes of JSON in it.
Prepared = tuple[Callable[[Transaction, Any], int], str, Any, int]

# An empty text stands for NULL, since Python's driver takes 2 µs to bind None: it looks for adapters, and finds none.
_APPEND = (
    "INSERT INTO events (task, time, type, level, error_type, data, agent, session) "
    "SELECT seq, ?, ?, ?, nullif(?, ''), ?, agent, session FROM tasks WHERE id = ? AND "
)
_APPEND_FENCED = _APPEND + "token = ? AND state = 'running'"  # guard: the fence of an Append
_APPEND_INBOX = _APPEND + "ended IS NULL"
_APPEND_APART = (
    "INSERT INTO events (task, time, type, level, error_type, data, agent, session) "
    "VALUES (0, ?, ?, ?, nullif(?, ''), ?, ?, ?)"
)
# The clock may have gone on, in another process, since the caller looked at it: what is written is not older than what
# stands there. Whose claim is over finds no task, and NULL in its place is refused.
_APPEND_ALL = (
    "INSERT INTO events (task, time, type, level, error_type, data, agent, session) "
    f"SELECT seq, max(?, ({HIGHEST})), column1, column2, nullif(column3, ''), column4, agent, session "
    "FROM (VALUES {}) LEFT JOIN tasks ON id = column5 AND "
    "(token = column6 AND state = 'running'"  # guard: the fence
    " OR token = 0 AND column6 = -1) WHERE column5 <> ''"
)
_EMPTY_PLACE = ("", "", "", "", "", 0)
#: Instead of a token, for the first event of a task that was made in the same transaction.
NEW = -1
_OPEN = "DELETE FROM closed WHERE handler = ?"
_CLOSE = "INSERT INTO closed (handler) VALUES (?) ON CONFLICT DO NOTHING"


_DELETES: dict[str, Callable[[Transaction, Delete], int]] = {"task": tasks.delete, "event": apart.delete}


def prepare(batch: Batch) -> list[Prepared]:
    """Check and serialise a batch. Raises: StoreError: too large, not JSON, or against the contract."""
    if len(batch.operations) > MAX_OPERATIONS:
        raise StoreError(f"A batch has {len(batch.operations)} operations; {MAX_OPERATIONS} are allowed.")
    large = Large()
    prepared = [_prepare(operation, large) for operation in batch.operations]
    size = sum([one[3] for one in prepared])
    if large.texts:
        size += large.size
    if size > MAX_BATCH_BYTES:
        raise StoreError(
            f"A batch holds {size} bytes of data; {MAX_BATCH_BYTES} are allowed.", remedy="Commit less at once."
        )
    return prepared


def apply(tx: Transaction, prepared: list[Prepared]) -> Receipt:
    """Apply a batch in order. Raises: Conflict, Limited: the caller then rolls back what was already written."""
    if len(prepared) == 1:  # the most frequent commit by far
        run, outcome, arguments, _ = prepared[0]
        value = run(tx, arguments)
        if outcome == "position":
            return Receipt((), (value,), tx.time)
        return Receipt((value,) if outcome == "version" else (), (), tx.time)
    outcomes: dict[str, list[int]] = {"version": [], "position": [], "": []}
    for run, outcome, arguments, _ in prepared:
        outcomes[outcome].append(run(tx, arguments))
    return Receipt(outcomes["version"], outcomes["position"], tx.time)


def append_all(tx: Transaction, events: Sequence[tuple[Any, ...]]) -> int:
    """Append by one statement, in this order, all or none; the position of the first, which the others follow.

    Args:
        events: the arguments of `append_fenced`; those of `append_inbox` and `NEW`.

    Raises: sqlite3.Error: not all could be appended.
    """
    arguments: list[Any] = [tx.now]
    for event in events:
        arguments += event
    places = 1 << (len(events) - 1).bit_length()  # few statements to prepare: an empty place is left out
    arguments += _EMPTY_PLACE * (places - len(events))
    last = tx.execute(_append_statement(places), arguments).lastrowid or 0
    tx.journaled = True
    return last - len(events) + 1


@cache
def _append_statement(places: int) -> str:
    return _APPEND_ALL.format(", ".join(["(?, ?, ?, ?, ?, ?)"] * places))


def _prepare(operation: Operation, large: Large) -> Prepared:
    if isinstance(operation, Append):
        return _prepare_append(operation, large)
    if isinstance(operation, Put):
        record = operation.record
        if isinstance(record, Task):
            put, size = tasks.prepare(operation, record, large)
            return (tasks.create if operation.expect == 0 else tasks.update), "version", put, size
        written, size = records.prepare(operation, record)
        return records.write, "version", written, size
    if isinstance(operation, Wake):
        return tasks.wake, "", operation, 0
    if isinstance(operation, Take):
        rates.check(operation)
        return rates.spend, "", operation, 0
    if isinstance(operation, Delete):
        return _DELETES.get(operation.kind, records.delete), "", operation, 0
    return _set_lane, "", operation, 0


def _prepare_append(operation: Append, large: Large) -> Prepared:
    event, task, token = operation.event, operation.task, operation.token
    type = event.type
    if type == "":
        raise StoreError("An event has no type.")
    data = large.place(rows.dump(event.data, type))
    run: Callable[[Transaction, Any], int]
    arguments: tuple[Any, ...]
    if task is None:
        if token is not None:
            raise StoreError("An event of no task came with a token.", remedy="Leave the token out.")
        agent, session = operation.agent, operation.session
        run, arguments = _append_apart, (type, event.level, event.error_type or "", data, agent, session)
    elif token is None:
        run, arguments = append_inbox, (type, event.level, event.error_type or "", data, task)
    else:
        run, arguments = append_fenced, (type, event.level, event.error_type or "", data, task, token)
    if data[0] != rows.MARK:
        return run, "position", arguments, len(data)
    return _append_large, "position", (run, arguments, data, large), len(data)


def append_fenced(tx: Transaction, arguments: tuple[Any, ...]) -> int:
    tx.types.add(arguments[0])
    cursor = tx.execute(_APPEND_FENCED, (tx.now, *arguments))
    if cursor.rowcount != 1:
        raise tasks.over(arguments[-2], arguments[-1])
    tx.journaled = True
    return cursor.lastrowid or 0


def append_inbox(tx: Transaction, arguments: tuple[Any, ...]) -> int:
    tx.types.add(arguments[0])
    cursor = tx.execute(_APPEND_INBOX, (tx.now, *arguments))
    if cursor.rowcount != 1:
        return 0
    tx.journaled = True
    return cursor.lastrowid or 0


def _append_apart(tx: Transaction, arguments: tuple[Any, ...]) -> int:
    tx.types.add(arguments[0])
    tx.journaled = True
    return tx.execute(_APPEND_APART, (tx.now, *arguments)).lastrowid or 0


def _append_large(tx: Transaction, arguments: tuple[Any, ...]) -> int:
    run, plain, data, large = arguments
    position: int = run(tx, plain)
    if position:
        large.keep(tx, data)
    return position


def _set_lane(tx: Transaction, operation: SetLane) -> int:
    tx.execute(_OPEN if operation.open else _CLOSE, (operation.handler,))
    return 0
