"""What a store refuses whatever its health: data too large for one commit, told apart from a store that fails."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from opspawn.contracts.store import MAX_BATCH_BYTES, Append, Operation, Put, Task
from opspawn.errors import InvalidInput


def refuse_oversize(operations: Sequence[Operation]) -> None:
    """Raise InvalidInput if the operations hold more data than one commit takes. Called when a commit has failed."""
    size = sum(len(json.dumps(value, ensure_ascii=False)) for operation in operations for value in _data(operation))
    if size > MAX_BATCH_BYTES:
        raise InvalidInput(
            f"{size} bytes are too much to be kept at once; {MAX_BATCH_BYTES} are allowed.",
            remedy="Write large data to a file, and pass its path.",
        )


def _data(operation: Operation) -> list[Any]:
    if isinstance(operation, Append):
        return [operation.event.data]
    if isinstance(operation, Put):
        record = operation.record
        return [record.input, record.result, record.error] if isinstance(record, Task) else [dict(record.data)]
    return []
