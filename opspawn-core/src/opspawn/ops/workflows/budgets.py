"""`budget` in a definition: what a workflow, or an agent that it asks, may use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opspawn.contracts.budget import Budget
from opspawn.ops.workflows.durations import parse_duration


def budget_of(said: Mapping[str, Any] | None) -> Budget | None:
    """What a definition says, as a budget; None where it limits nothing."""
    known = {name: value for name, value in (said or {}).items() if value is not None}
    limits: dict[str, Any] = {
        name: known[name] for name in ("tokens", "usd", "requests", "tool_calls", "depth") if name in known
    }
    if "wall" in known:
        limits["wall_s"] = parse_duration(known["wall"])
    if not limits:
        return None
    return Budget(**limits, on_exceed=known.get("on_exceed", "stop"), approvers=tuple(known.get("approvers", ())))
