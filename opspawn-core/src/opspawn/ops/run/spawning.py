"""Parting children among commits: as few as a store takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pydantic_core import to_json

from opspawn.contracts.store import MAX_BATCH_BYTES, MAX_OPERATIONS, Task

_OPERATIONS = 3  # of one child
#: What a commit may hold beside the inputs, in bytes for each child: ids, keys, labels, the names of fields.
_BESIDE = 4096


class NewChild(NamedTuple):
    """A child that is to be made: the task, and what its parent's journal will say of it."""

    task: Task
    spawned: dict[str, Any]


def batches(children: Iterable[NewChild]) -> Iterator[list[NewChild]]:
    """Yield children in their order, as many at once as one commit takes. One that is too large goes alone."""
    batch: list[NewChild] = []
    size = 0
    for child in children:
        more = 2 * len(to_json(child.task.input)) + _BESIDE
        if batch and (size + more > MAX_BATCH_BYTES or (len(batch) + 1) * _OPERATIONS > MAX_OPERATIONS):
            yield batch
            batch, size = [], 0
        batch.append(child)
        size += more
    if batch:
        yield batch
