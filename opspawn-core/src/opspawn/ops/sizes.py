"""What a store refuses whatever its health: data too large for one commit, told apart from a store that fails."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from opspawn.contracts.store import MAX_BATCH_BYTES, Append, Operation, Put, Task
from opspawn.errors import InvalidInput, StepFailed

_REMEDY = "Write large data to a file, and pass its path."
#: What a commit that ends a task may hold beside its input and result, in bytes.
_BESIDE = 16 * 1024


def refuse_oversize(operations: Sequence[Operation]) -> None:
    """Raise InvalidInput if the operations hold more data than one commit takes. Called when a commit has failed.

    Like a store, it counts bytes, and a value that occurs several times once.
    """
    texts = {_text(value) for operation in operations for value in _data(operation)}
    if (size := sum(map(len, texts))) > MAX_BATCH_BYTES:
        raise InvalidInput(
            f"{size} bytes are too much to be kept at once; {MAX_BATCH_BYTES} are allowed.", remedy=_REMEDY
        )


def result_too_large(task: Task, result: Any) -> StepFailed:
    """The failure of a task whose result cannot be kept: how large it is, and how large it may be."""
    size, beside = len(_text(result)), len(_text(task.input))
    most, twice = MAX_BATCH_BYTES - _BESIDE - beside, ""
    if task.parent is not None:
        most, twice = most // 2, ", and the result of a child counts twice, since its parent is told of it"
    words = f"The result of {task.handler} is too large: it has {size} bytes. {max(0, most)} are the most"
    return StepFailed(f"{words} beside an input of {beside} bytes{twice}. {_REMEDY}", error_type="invalid_output")


def _text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass")


def _data(operation: Operation) -> list[Any]:
    if isinstance(operation, Append):
        return [operation.event.data]
    if isinstance(operation, Put):
        record = operation.record
        return [record.input, record.result, record.error] if isinstance(record, Task) else [dict(record.data)]
    return []
