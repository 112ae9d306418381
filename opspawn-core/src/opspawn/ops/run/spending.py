"""What a run has used, in its journal: calls whose end will never be known, and what a parent is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from opspawn.agentkit.ledger import Ledger
from opspawn.contracts.events import NewEvent
from opspawn.contracts.store import Append, Operation


def cut_off(ledger: Ledger, line: Callable[[NewEvent], Append]) -> list[Operation]:
    """Charge the model calls that were cut off as they were reserved; what records that."""
    lost = ledger.open
    for one in lost:
        ledger.lost(one.key, one.n, one.amount)
    return [line(_unknown({"key": one.key, "n": one.n, **one.amount.to_json()})) for one in lost]


def with_spent(operations: Sequence[Operation], parent: str | None, more: Mapping[str, Any]) -> list[Operation]:
    """The end of a task, whose parent is told more: what it used, and how much of what it was lent."""
    return [_told(one, parent, more) for one in operations]


def _told(one: Operation, parent: str | None, more: Mapping[str, Any]) -> Operation:
    if isinstance(one, Append) and one.task == parent and one.event.type == "child.ended":
        return replace(one, event=replace(one.event, data={**one.event.data, **more}))
    return one


def _unknown(data: dict[str, Any]) -> NewEvent:
    return NewEvent("usage.unknown", data, level="warning", error_type="budget")
