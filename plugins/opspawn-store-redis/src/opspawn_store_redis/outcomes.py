"""What became of batches: what the function `commit` answers, as receipts and refusals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from opspawn.contracts.store import Append, Operation, Put, Receipt, Task
from opspawn.errors import Conflict, Limited, StoreError
from opspawn.stores import rows
from opspawn.stores.tasks import over


class Applied(NamedTuple):
    """What the Puts and Appends of a batch gave, in their order (the newest position if it is empty), and the time."""

    numbers: Sequence[int]
    time: int


class Refused(NamedTuple):
    """The number of the operation that does not hold, why, and more about that."""

    operation: int
    why: str
    more: Any


#: What became of a batch; a receipt is of one that was applied before under its id.
Outcome = Applied | Receipt | Refused


def settled(counts: Sequence[int], raw: Sequence[Any]) -> list[Outcome]:
    """What became of batches, of which so many operations give a number each; `raw` is as commit.lua answers it."""
    found: list[Outcome] = []
    time, at = raw[0], 1
    for count in counts:
        one = raw[at]
        at += 1
        if one == 1:
            found.append(Applied(raw[at : at + count], time))
            at += count
        else:
            found.append(Receipt(one[0], one[1], rows.moment(one[2])) if isinstance(one[0], list) else Refused(*one))
    return found


def outcome(operations: Sequence[Operation], raw: Outcome) -> Receipt | StoreError:
    """What became of a batch."""
    if isinstance(raw, Receipt):
        return raw
    if isinstance(raw, Refused):
        return refusal(operations[raw.operation], raw.why, raw.more)
    versions, positions = list[int](), list[int]()
    numbers = iter(raw.numbers)
    for operation in operations:
        if isinstance(operation, Put):
            versions.append(next(numbers))
        elif isinstance(operation, Append):
            positions.append(next(numbers))
    return Receipt(versions, positions, rows.moment(raw.time))


def refusal(operation: Any, why: str, more: Any) -> StoreError:
    """Why a batch was refused, in words."""
    if why == "limited":
        return Limited(operation.key, (math.ceil(float(more)) + 1) / 1_000_000)
    if why == "apart":
        return Conflict(f"There is no event of no task at {operation.id!r}.")
    if isinstance(operation, Put):
        put: Any = operation.record
        what = f"Task {put.id!r}" if isinstance(put, Task) else f"Record {put.kind}/{put.id}"
    elif hasattr(operation, "kind"):
        what = f"Task {operation.id!r}" if operation.kind == "task" else f"Record {operation.kind}/{operation.id}"
    else:
        what = f"Task {operation.task!r}"
    if why == "over":
        return over(operation.record.id if isinstance(operation, Put) else operation.task, operation.token)
    words = {
        "claimless": "cannot be created under a claim",
        "exists": "exists already",
        "absent": "does not exist",
        "ended": f"has ended: it is {more}",
        "running": "is running: only its worker may write it",
        "alive": "has not ended",
        "version": f"is at version {more}, not {getattr(operation, 'expect', 0)}",
    }
    return Conflict(f"{what} {words[why]}.")
