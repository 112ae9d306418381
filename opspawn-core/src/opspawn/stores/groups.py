"""What the commits of a group do together: most of them begin a task, add to its journal or end it, and all of a sort
are one statement, since each statement lets go of the interpreter's lock, which the event loop then takes.

The order is that of a task's life: new tasks, claims, all events, ends. What a group has to do is under way at the same
time, so that none can tell in which order it is done. Where one is at fault all are undone, and each is done alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain, compress
from typing import Any, Literal, TypeVar

from opspawn.contracts.store import Batch, Lease, Receipt
from opspawn.errors import Conflict
from opspawn.stores import claims, operations, tasks
from opspawn.stores.claims import Asked
from opspawn.stores.newborn import Newborn, serve
from opspawn.stores.operations import Prepared
from opspawn.stores.payloads import SURELY_INLINE
from opspawn.stores.tasks import BODY, KIN, PreparedPut
from opspawn.stores.transaction import Transaction

T = TypeVar("T")

#: One fenced append; a new task and its first event; fenced appends and the end of a claimed task; a claim, which is no
#: batch and only done with others if all in its group have a sort; or anything else.
Sort = Literal["append", "begin", "end", "claim", ""]

_ONE_EVENT: tuple[tuple[int, ...], int] = ((), 1)
_ROWS = 64  # in one statement at most, and powers of two, so that few are prepared

#: What the end of a task binds. An empty text stands for NULL; see `operations`.
_BOUND = ("id", "version", "token", *KIN, *BODY, "input", "result", "now", "deadline")
_NEW = {name: f"nullif(column{number}, '')" for number, name in enumerate(_BOUND, start=1)}
_SET = {name: _NEW[name] for name in (*BODY, "input", "result", "deadline")} | {
    "version": "version + 1", "token": "token + 1", "owner": "NULL", "wake_at": "NULL", "ready": "0", "due": "NULL",
    "rank": "NULL", "updated": _NEW["now"], "ended": _NEW["now"],
}  # fmt: skip
# Only a task that is no more than its row: labels, places and large values lie elsewhere, too.
_END = (
    f"UPDATE tasks SET {', '.join(f'{name} = {value}' for name, value in _SET.items())} FROM (VALUES {{}}) "
    f"WHERE id = column1 AND version = {_NEW['version']} "  # guard: nobody overwrites what they have not read
    f"AND token = {_NEW['token']} AND state = 'running' "  # guard: the fence of an end
    f"AND labels = {_NEW['labels']} AND line IS NULL AND places = 0 AND large = 0 "
    f"AND {' AND '.join(f'{name} IS {_NEW[name]}' for name in KIN)}"
)


def work_of(batch: Batch) -> tuple[Callable[[Transaction, Any], Receipt], Any, Sort]:
    """How to apply a batch alone, to what, and its sort: with one, that is also what to apply with others.

    Raises: StoreError: as `operations.prepare`.
    """
    event = operations.alone(batch)
    if event is None:
        prepared = operations.prepare(batch)
    elif len(text := event[3]) <= SURELY_INLINE:
        return operations.append, event, "append"
    else:
        prepared = operations.prepare(batch, text)
    return operations.apply, prepared, _sort_of(prepared)


def _sort_of(batch: Sequence[Prepared]) -> Sort:
    run = batch[0][0] if batch else None
    if run is operations.append_fenced and len(batch) > 1:
        fenced = all(one[0] is operations.append_fenced for one in batch[:-1])
        return "end" if fenced and batch[-1][0] is tasks.update and _is_end(batch[-1][2]) else ""
    if run is tasks.create and len(batch) == 2 and batch[1][0] is operations.append_inbox:
        made, told = batch[0][2], batch[1][2]
        put, task, *_ = made
        own = told[-1] == task.id and put.token is None
        return "begin" if own and _is_row(made) and not task.labels else ""
    return ""


def append_all(tx: Transaction, events: Sequence[tuple[Any, ...]]) -> list[Receipt]:
    """As `apply_all`, for batches that all are one fenced append, as most are."""
    tx.types.update([event[0] for event in events])
    first, time = operations.append_all(tx, events), tx.time
    return [Receipt((), (position,), time) for position in range(first, first + len(events))]


def apply_all(tx: Transaction, group: Sequence[tuple[Sort, Any]]) -> list[Receipt | list[Lease]]:
    """Do what has a sort, given as by `work_of`, or with what a claim asks for; the receipts, and leases of claims.

    Raises: sqlite3.Error, Conflict: not all can be done; `operations.apply` tells which, and why.
    """
    born = [Newborn(tx, batch[0][2]) for sort, batch in group if sort == "begin"]
    leases = _claims(tx, [asked for sort, asked in group if sort == "claim"], born)
    ends: list[PreparedPut] = []
    events: list[tuple[Any, ...]] = []
    told: list[tuple[tuple[int, ...], int] | None] = []  # the versions of each batch, and how many events
    begun = iter(born)
    for sort, batch in group:
        if sort == "append":
            events.append(batch)
            tx.types.add(batch[0])
            told.append(_ONE_EVENT)
        elif sort == "begin":
            events.append((*batch[1][2], next(begun).token or operations.NEW))
            tx.types.add(batch[1][2][0])
            told.append(((1,), 1))
        elif sort == "claim":
            told.append(None)
        else:
            events += [one[2] for one in batch[:-1]]
            ends.append(batch[-1][2])
            told.append(((batch[-1][2][0].expect + 1,), len(batch) - 1))
    for some in leases:
        events += claims.told(tx, some)
    first = operations.append_all(tx, events) if events else 0
    if ends:
        _end(tx, ends)
    return _answers(tx, told, leases, first)


def _claims(tx: Transaction, asked: Sequence[Asked], born: Sequence[Newborn]) -> list[list[Lease]]:
    """Write new tasks, and lease what claims get, of these and of others."""
    leases = [serve(tx, one, born) if born else None for one in asked]
    if born:
        _begin(tx, [one.columns for one in born])
    return [claims.take(tx, one) if served is None else served for one, served in zip(asked, leases, strict=True)]


def _answers(
    tx: Transaction, told: Sequence[tuple[tuple[int, ...], int] | None], leases: Iterable[list[Lease]], first: int
) -> list[Receipt | list[Lease]]:
    """What each of a group hears; `first` is the position of the first event."""
    answers: list[Receipt | list[Lease]] = []
    leased, time = iter(leases), tx.time
    for one in told:
        if one is None:
            answers.append(next(leased))
            continue
        versions, count = one
        positions = (first,) if count == 1 else tuple(range(first, first + count))
        answers.append(Receipt(versions, positions, time))
        first += count
    return answers


def _is_row(put: PreparedPut) -> bool:
    """Whether a Put writes no more than a row, but for labels."""
    _, task, _, body, _ = put
    return not task.holds and not tasks.large_values(*body[-2:])


def _is_end(prepared: PreparedPut) -> bool:
    put, task, *_ = prepared
    return put.token is not None and task.state.terminal and _is_row(prepared)


def _begin(tx: Transaction, new: Iterable[tuple[Any, ...]]) -> None:
    """Insert tasks, by their `created` columns. Raises: sqlite3.IntegrityError: one exists already."""
    alike: dict[tuple[bool, ...], list[list[Any]]] = {}
    for columns in new:
        given = tasks.given(columns)
        alike.setdefault(given, []).append(list(compress(columns, given)))
    for given, made in alike.items():
        for some in _parts(made):
            tx.execute(tasks.insert_put(given, len(some)), list(chain.from_iterable(some)))


def _end(tx: Transaction, puts: Sequence[PreparedPut]) -> None:
    """Write the ends of tasks. Raises: Conflict: one is not as it was expected, or more than its row."""
    for some in _parts(puts):
        values: list[Any] = []
        for put, task, kin, body, _ in some:
            row = (task.id, put.expect, put.token, *kin, *body, tx.now, tasks.deadline(tx, put, task))
            values += ["" if value is None else value for value in row]
        if tx.execute(_end_statement(len(some)), values).rowcount != len(some):
            raise Conflict("A task is not as it was expected.")


@cache
def _end_statement(count: int) -> str:
    return _END.format(", ".join([f"({', '.join('?' * len(_BOUND))})"] * count))


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    start = 0
    while left := len(items) - start:
        size = min(_ROWS, 1 << (left.bit_length() - 1))
        yield items[start : start + size]
        start += size
