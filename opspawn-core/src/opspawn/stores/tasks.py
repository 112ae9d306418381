"""Writing tasks: Put, Wake, and Delete of one that has ended."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import compress, repeat
from operator import is_not, itemgetter
from typing import Any

from opspawn.contracts.store import (
    HEAD_START_S,
    MAX_HOLDS,
    MAX_PRIORITY,
    STRICT_HEAD_START_S,
    Delete,
    Put,
    Task,
    TaskState,
    Wake,
)
from opspawn.errors import Conflict, StoreError
from opspawn.stores import payloads, places, rows
from opspawn.stores.payloads import Large
from opspawn.stores.transaction import Transaction

#: A Put, its task, the columns `KIN` and `BODY` with input and result, and the large values of its batch.
PreparedPut = tuple[Put, Task, tuple[Any, ...], tuple[Any, ...], Large]

_DUE_STATES = (TaskState.QUEUED, TaskState.WAITING)  # a Put makes no other task due; `running` comes from claims
_HORIZON_S = 100.0 * 365 * 86400  # no offset is longer

KIN = ("handler", "root", "queue", "parent", "agent", "session", "retry_of")  # indexed, and hardly ever changed
BODY = (
    "state", "priority", "strict", "head_start", "holds", "error", "attempt", "retry", "timeout_s", "deliveries",
    "labels",
)  # fmt: skip
_HEAD_START, _LABELS = BODY.index("head_start"), BODY.index("labels")
_WHEN = ("wake_at", "ready", "due", "rank", "line", "updated", "ended", "deadline")
_VALUES = ("input", "result", "large")
_REST = BODY + _WHEN + _VALUES
_SELECT_PUT = (
    "SELECT seq, version, token, state, wakes, urgent_at, cancel, ready, line, places, large, labels, "
    f"{', '.join(KIN)} FROM tasks WHERE id = ?"
)
_UPDATE_KIN = f"UPDATE tasks SET {', '.join(f'{name} = ?' for name in KIN)} WHERE seq = ?"
_CREATED = ("id", "created", "owner", "token", *KIN, *_REST)
_READY, _RANK = _CREATED.index("ready"), _CREATED.index("rank")
_CLAIMED = [_CREATED.index(name) for name in ("owner", "token", "state", "ready", "wake_at", "due")]
_AS_ROW = itemgetter(*[(*_CREATED, "version", "wakes").index(name) for name in rows.TASK_COLUMNS.split(", ")])
_SELECT_VALUES = "SELECT input, result FROM tasks WHERE seq = ?"
_LABEL = "INSERT INTO labels (name, value, task) VALUES (?, ?, ?)"
_UNLABEL = "DELETE FROM labels WHERE name = ? AND value = ? AND task = ?"

_SELECT_WAKE = (
    "SELECT seq, state, wakes, wake_at, ready, due, line, cancel, queue, handler FROM tasks "
    "WHERE id = ? AND ended IS NULL"
)
_UPDATE_WAKE = "UPDATE tasks SET wakes = wakes + 1 WHERE seq = ?"
_UPDATE_WAKE_URGENT = "UPDATE tasks SET wakes = wakes + 1, urgent_at = wakes + 1 WHERE seq = ?"
_UPDATE_CANCEL = "UPDATE tasks SET cancel = 1, ready = ? WHERE seq = ?"
_UPDATE_DUE = "UPDATE tasks SET ready = ?, due = ?, rank = ? - head_start WHERE seq = ?"

_LAST_EVENT = "SELECT max(position) FROM events"
_BLANK = (  # guard: a position is never given twice
    "UPDATE events SET task = 0, type = '', level = 'info', error_type = NULL, agent = NULL, session = NULL, "
    "data = '{}' WHERE position = ? AND task = ?"
)


def offset(seconds: float, what: str) -> int:
    """Seconds as microseconds. Raises: StoreError: not a time within a hundred years."""
    if not abs(seconds) <= _HORIZON_S:
        raise StoreError(f"{what} of {seconds:g} seconds is out of range.", remedy="Give a time within 100 years.")
    return round(seconds * 1_000_000)


def prepare(put: Put, task: Task, large: Large) -> tuple[PreparedPut, int]:
    """Check and serialise; also the bytes of JSON in it. Raises: StoreError."""
    what = f"Task {task.id!r}"
    if task.state is TaskState.RUNNING:
        raise StoreError(f"{what} cannot be put as running.", remedy="Only a claim starts a task.")
    if not -MAX_PRIORITY <= task.priority <= MAX_PRIORITY:
        raise StoreError(
            f"{what} has priority {task.priority}.", remedy=f"Give one from -{MAX_PRIORITY} to {MAX_PRIORITY}."
        )
    if put.due_in_s:
        offset(put.due_in_s, f"{what}: due_in_s")
    if put.deadline_in_s:
        offset(put.deadline_in_s, f"{what}: deadline_in_s")
    if task.timeout_s is not None and not math.isfinite(task.timeout_s):
        raise StoreError(f"{what} has a timeout of {task.timeout_s:g} seconds.", remedy="Give a number, or None.")
    kin = (task.handler, task.root, task.queue, task.parent, task.agent, task.session, task.retry_of)
    error = None if task.error is None else rows.dump(task.error, what)
    retry = None if task.retry is None else rows.dump(dict(task.retry), what)
    labels = rows.dump(rows.texts(task.labels, f"{what}: labels"), what) if task.labels else "{}"
    head_start = round(task.priority * 1_000_000 * (STRICT_HEAD_START_S if task.strict else HEAD_START_S))
    texts = [large.place(rows.dump(value, what)) for value in (task.input, task.result)]
    body = (
        str(task.state), task.priority, int(task.strict), head_start, _holds(task, what), error, task.attempt, retry,
        None if task.timeout_s is None else float(task.timeout_s), task.deliveries, labels, *texts,
    )  # fmt: skip
    size = len(labels) + len(error or "") + sum(map(rows.size, texts))
    return (put, task, kin, body, large), size


def _holds(task: Task, what: str) -> str | None:
    if not task.holds:
        return None
    keys = [hold.key for hold in task.holds]
    if len(keys) > MAX_HOLDS or len(set(keys)) < len(keys):
        raise StoreError(f"{what} has the holds {keys}.", remedy=f"At most {MAX_HOLDS}, and each key once.")
    for hold in task.holds:
        if hold.limit < 1 or hold.while_ not in ("running", "unfinished"):
            raise StoreError(
                f"{what} holds {hold.key!r} with limit {hold.limit} while {hold.while_!r}.",
                remedy='The limit is 1 or more, and `while_` "running" or "unfinished".',
            )
    return json.dumps([[hold.key, hold.limit, hold.while_] for hold in task.holds])


def create(tx: Transaction, prepared: PreparedPut) -> int:
    """Insert a task. Raises: Conflict."""
    put, task, _, body, large = prepared
    if put.token is not None:
        raise Conflict(f"Task {task.id!r} cannot be created under a claim.")
    line = task.holds[0].key if task.holds else None
    columns = created(tx, prepared, line)
    texts, flag = body[-2:], columns[-1]
    try:
        _write(tx, insert_put, columns)
    except sqlite3.IntegrityError as error:
        raise Conflict(f"Task {task.id!r} exists already.") from error
    if task.labels or flag or line is not None:
        seq = tx.cursor.lastrowid or 0
        for label in task.labels.items():
            tx.execute(_LABEL, (*label, seq))
        large.keep(tx, *texts)
        if line is not None and columns[_READY] == 2:
            places.step_forward(tx, line, (task.queue, task.handler))
    return 1


def created(tx: Transaction, prepared: PreparedPut, line: str | None = None) -> tuple[Any, ...]:
    """The columns `_CREATED` of a new task."""
    _, task, kin, body, _ = prepared
    texts = body[-2:]
    return (task.id, tx.now, None, 0, *kin, *body[:-2], *_when(tx, prepared, line), *texts, large_values(*texts))


def rank_if_ready(columns: Sequence[Any]) -> int | None:
    """The rank of a new task without places, by its `created` columns; None if it is not to be claimed yet."""
    return columns[_RANK] if columns[_READY] == 1 else None


def claimed(columns: Sequence[Any], worker: str, lease_end: int) -> tuple[Any, ...]:
    """The `created` columns of a task that its first claim finds: what a claim writes, at once."""
    values = list(columns)
    new = (worker, 1, TaskState.RUNNING.value, 0, None, lease_end)  # guard: as a claim that finds it
    for place, value in zip(_CLAIMED, new, strict=True):
        values[place] = value
    return tuple(values)


def made(columns: Sequence[Any]) -> Task:
    """The new task of `created` columns, without large values, as its row will be read."""
    return rows.task(_AS_ROW((*columns, 1, 0)))


def update(tx: Transaction, prepared: PreparedPut) -> int:
    """Write a task that exists. Raises: Conflict."""
    put, task, kin, body, large = prepared
    row = tx.execute(_SELECT_PUT, (task.id,)).fetchone()
    if row is None:
        raise Conflict(f"Task {task.id!r} does not exist.")
    seq, version, token, state, wakes, urgent_at, cancel, ready, former_line, held, flag, labels, *former_kin = row
    _check_put(put, task.id, version, token, TaskState(state))
    ends_claim = put.token is not None
    line = None
    if held or task.holds:
        if held and (ends_claim or task.state.terminal):
            places.leave(tx, seq, all=task.state.terminal)
        has = places.mine(tx, seq)
        line = next((hold.key for hold in task.holds if hold.key not in has), None)
    when = _when(tx, prepared, line, wakes, urgent_at, cancel)
    texts = body[-2:]
    if flag or texts[0][0] == rows.MARK or texts[1][0] == rows.MARK:
        texts = _replace_values(tx, seq, task, texts, large)
    _write(tx, _update_put, (*body[:-2], *when, *texts, large_values(*texts)), int(ends_claim), seq)
    if tuple(former_kin) != kin:
        tx.execute(_UPDATE_KIN, (*kin, seq))
    if labels != body[_LABELS]:
        _relabel(tx, seq, rows.load(labels), task)
    if former_line is not None and ready:
        places.step_forward(tx, former_line, (former_kin[2], former_kin[0]))
    if line is not None and when[1] == 2:
        places.step_forward(tx, line, (task.queue, task.handler))
    return int(version) + 1


def _write(tx: Transaction, statement: Callable[[tuple[bool, ...]], str], values: Sequence[Any], *last: int) -> None:
    """Run the statement for these values, of which it binds those that are not None: see `operations`."""
    bound = given(values)
    tx.execute(statement(bound), (*compress(values, bound), *last))


def given(values: Sequence[Any]) -> tuple[bool, ...]:
    """Which of these values are not None; without a call of Python for each."""
    return tuple(map(is_not, values, repeat(None)))


@lru_cache(maxsize=256)
def insert_put(given: tuple[bool, ...], count: int = 1) -> str:
    """The statement that inserts so many tasks whose `created` columns are these."""
    names = ", ".join([name for name, one in zip(_CREATED, given, strict=True) if one])
    row = f"(1, 0, 0, 0, 0{', ?' * sum(given)})"
    return f"INSERT INTO tasks (version, wakes, urgent_at, cancel, places, {names}) VALUES {', '.join([row] * count)}"


@lru_cache(maxsize=64)
def _update_put(given: tuple[bool, ...]) -> str:
    columns = [f"{name} = {'?' if one else 'NULL'}" for name, one in zip(_REST, given, strict=True)]
    return (
        f"UPDATE tasks SET owner = NULL, version = version + 1, {', '.join(columns)}, token = token + ? WHERE seq = ?"
    )


def _check_put(put: Put, id: str, version: int, token: int, state: TaskState) -> None:
    if state.terminal:
        raise Conflict(f"Task {id!r} has ended: it is {state}.")
    if version != put.expect:  # guard: nobody overwrites what they have not read
        raise Conflict(f"Task {id!r} is at version {version}, not {put.expect}.")
    if put.token is None:
        if state is TaskState.RUNNING:  # nobody writes another's started task
            raise Conflict(f"Task {id!r} is running: only its worker may write it.")
    elif put.token != token or state is not TaskState.RUNNING:  # guard: the fence of a Put
        raise over(id, put.token)


def over(task: str, token: int) -> Conflict:
    """The refusal of whoever writes under a claim that is not the current one."""
    return Conflict(f"The claim {token} of task {task!r} is over: another worker may have it.")


def _when(
    tx: Transaction, prepared: PreparedPut, line: str | None, wakes: int = 0, urgent_at: int = 0, cancel: int = 0
) -> tuple[Any, ...]:
    """The columns `_WHEN`."""
    put, task, _, body, _ = prepared
    due = None
    if task.state in _DUE_STATES and put.due_in_s is not None:
        due = tx.now + round(put.due_in_s * 1_000_000)
    wake_at = None
    if task.state is TaskState.WAITING:
        wake_at = put.wake_at
        # What came between the worker's last look and this moment must not be slept through.
        if urgent_at > put.wakes_seen or (wake_at is not None and wakes >= wake_at):
            due = tx.now if due is None else min(due, tx.now)
    rank = None
    ready = 0
    if due is not None:
        rank = due - body[_HEAD_START]
        if due <= tx.now:
            ready = _ready(cancel, line)
    ended = None
    if task.state.terminal:
        ended = tx.now
        line = None
    return wake_at, ready, due, rank, line, tx.now, ended, deadline(tx, put, task)


def deadline(tx: Transaction, put: Put, task: Task) -> int | None:
    """The column of that name."""
    if put.deadline_in_s is not None:
        return tx.now + round(put.deadline_in_s * 1_000_000)
    return None if task.deadline is None else rows.microseconds(task.deadline)


def _ready(cancel: int, line: str | None) -> int:
    """Where a task that is due stands; see `layout`."""
    return 3 if cancel else 1 if line is None else 2


def large_values(input: str, result: str) -> int:
    """The column `large`: which of the two are markers."""
    return (input[0] == rows.MARK) + 2 * (result[0] == rows.MARK)


def _replace_values(tx: Transaction, seq: int, task: Task, texts: tuple[str, ...], large: Large) -> tuple[str, ...]:
    """Change references from the former values to the new ones; a stand-in of the former value keeps it."""
    former = tx.execute(_SELECT_VALUES, (seq,)).fetchone()
    kept = []
    for old, new, value in zip(former, texts, (task.input, task.result), strict=True):
        if old[0] == rows.MARK and value == rows.load(old):
            kept.append(old)
            continue
        large.keep(tx, new)
        payloads.drop(tx, old)
        kept.append(new)
    return tuple(kept)


def _relabel(tx: Transaction, seq: int, former: dict[str, str], task: Task) -> None:
    for label in former.items() - task.labels.items():
        tx.execute(_UNLABEL, (*label, seq))
    for label in task.labels.items() - former.items():
        tx.execute(_LABEL, (*label, seq))


def wake(tx: Transaction, wake: Wake) -> int:
    """Raise the wakes of a task, and make it due if that is what it waits for; nothing if it has ended."""
    row = tx.execute(_SELECT_WAKE, (wake.task,)).fetchone()
    if row is None:
        return 0
    seq, state, wakes, wake_at, ready, due, line, cancel, queue, handler = row
    # Statements apart, since one that names an indexed column rewrites the index even where nothing changes.
    tx.execute(_UPDATE_WAKE_URGENT if wake.urgent else _UPDATE_WAKE, (seq,))
    if wake.cancel and not cancel:
        cancel = 1
        tx.execute(_UPDATE_CANCEL, (3 if ready else 0, seq))
        if ready and line is not None:
            places.step_forward(tx, line, (queue, handler))
    if state == "waiting" and not ready and (wake.urgent or (wake_at is not None and wakes + 1 >= wake_at)):
        due = tx.now if due is None else min(due, tx.now)
        ready = _ready(cancel, line)
        tx.execute(_UPDATE_DUE, (ready, due, due, seq))
        if ready == 2:
            places.step_forward(tx, line, (queue, handler))
    return 0


def delete(tx: Transaction, delete: Delete) -> int:
    """Remove a task that has ended, with its journal and whatever only they refer to. Raises: Conflict."""
    row = tx.execute("SELECT seq, version, ended, labels, large FROM tasks WHERE id = ?", (delete.id,)).fetchone()
    if row is None or row[1] != delete.expect:
        raise Conflict(f"Task {delete.id!r} is not at version {delete.expect}.")
    seq, _, ended, labels, flag = row
    if ended is None:
        raise Conflict(f"Task {delete.id!r} has not ended.")
    large = f"SELECT data FROM events WHERE task = ? AND data GLOB '{rows.MARK}*'"
    for (marker,) in tx.execute(large, (seq,)).fetchall():
        payloads.drop(tx, marker)
    if flag:
        payloads.drop(tx, *tx.execute(_SELECT_VALUES, (seq,)).fetchone())
    for label in rows.load(labels).items():
        tx.execute(_UNLABEL, (*label, seq))
    tx.execute(_BLANK, (tx.execute(_LAST_EVENT).fetchone()[0], seq))
    tx.execute("DELETE FROM events WHERE task = ?", (seq,))
    tx.execute("DELETE FROM tasks WHERE seq = ?", (seq,))
    return 0
