"""What a commit does: the operations of a batch.

`prepare` runs in the caller's thread: it checks and serialises, so that a caller's mistake costs nobody else anything.
What it returns is applied by `apply` inside the transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from typing import Any, cast

from opspawn.contracts.store import (
    MAX_BATCH_BYTES,
    MAX_OPERATIONS,
    Append,
    Batch,
    Check,
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
# stands there. Whose claim is over finds no task, and NULL in its place is refused. What the events of a group have in
# common, as all of them that are results of steps, is bound once: each value of each row costs.
_APPEND_ALL = (
    "INSERT INTO events (task, time, type, level, error_type, data, agent, session) "
    f"SELECT seq, max(?, ({HIGHEST})), {{sort}}, column1, agent, session "
    "FROM (VALUES {rows}) LEFT JOIN tasks ON id = column2 AND "
    "(token = column3 AND state = 'running'"  # guard: the fence
    " OR token = 0 AND column3 = -1) WHERE column2 <> ''"
)
_ALIKE = ("?, ?, nullif(?, '')", "(?, ?, ?)")
_MIXED = ("column4, column5, nullif(column6, '')", "(?, ?, ?, ?, ?, ?)")
_NO_EVENT = ("", "", "", "", "", 0)
#: Instead of a token, for the first event of a task that was made in the same transaction.
NEW = -1
_OPEN = "DELETE FROM closed WHERE handler = ?"
_CLOSE = "INSERT INTO closed (handler) VALUES (?) ON CONFLICT DO NOTHING"


_DELETES: dict[str, Callable[[Transaction, Delete], int]] = {"task": tasks.delete, "event": apart.delete}


def alone(batch: Batch) -> tuple[Any, ...] | None:
    """The arguments of `append`, if one fenced append is all that there is to do, as it mostly is. The data is not
    placed yet.

    Raises: StoreError: it is not JSON.
    """
    if len(batch.operations) != 1:
        return None
    operation = batch.operations[0]
    if type(operation) is not Append or operation.token is None or operation.task is None:
        return None
    event = operation.event
    type_ = event.type
    if type_ == "":
        return None
    data = rows.dump(event.data, type_)
    return type_, event.level, event.error_type or "", data, operation.task, operation.token


def prepare(batch: Batch, text: str | None = None) -> list[Prepared]:
    """Check and serialise a batch; `text` is the data of its one event, where that is known by now.

    Raises: StoreError: too large, not JSON, or against the contract.
    """
    if len(batch.operations) > MAX_OPERATIONS:
        raise StoreError(f"A batch has {len(batch.operations)} operations; {MAX_OPERATIONS} are allowed.")
    large = Large()
    if text is not None:
        prepared = [_prepare_append(cast("Append", batch.operations[0]), large, text)]
    else:
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
    count = len(events)
    places = _places(count)  # an empty place is left out
    *sort, data, ids, tokens = zip(*events, *[_NO_EVENT] * (places - count), strict=True)
    alike = all(len(set(values[:count])) == 1 for values in sort)
    columns = (data, ids, tokens) if alike else (data, ids, tokens, *sort)
    bound = list(chain.from_iterable(zip(*columns, strict=True)))
    first = [tx.now, *(values[0] for values in sort)] if alike else [tx.now]
    last = tx.execute(_append_statement(places, alike), first + bound).lastrowid or 0
    tx.journaled = True
    return last - count + 1


def _places(count: int) -> int:
    """How many rows a statement for so many has: a few more, so that there are few statements to prepare."""
    step = 1 << max(0, count.bit_length() - 3)
    return -(-count // step) * step


@cache
def _append_statement(places: int, alike: bool) -> str:
    sort, row = _ALIKE if alike else _MIXED
    return _APPEND_ALL.format(sort=sort, rows=", ".join([row] * places))


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
    if isinstance(operation, Check):
        return records.check, "", operation, 0
    return _set_lane, "", operation, 0


def _prepare_append(operation: Append, large: Large, text: str | None = None) -> Prepared:
    event, task, token = operation.event, operation.task, operation.token
    type = event.type
    if type == "":
        raise StoreError("An event has no type.")
    data = large.place(rows.dump(event.data, type) if text is None else text)
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


def append(tx: Transaction, arguments: tuple[Any, ...]) -> Receipt:
    """Apply a batch that is one fenced append, given by its arguments. Raises: Conflict."""
    return Receipt((), (append_fenced(tx, arguments),), tx.time)


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
