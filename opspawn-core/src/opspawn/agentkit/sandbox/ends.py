"""How a process ended that gave no answer, in words."""

from __future__ import annotations

import signal
from typing import Any

from opspawn.contracts.sandbox import SandboxCall
from opspawn.errors import ToolError

_SHOWN = 600


def died(call: SandboxCall, end: dict[str, Any], *, answered: bool) -> ToolError:
    """The error for a call whose process ended without an answer, or with one that is none.

    Its `error_type` is "transient": nobody knows how much of its work was done.
    """
    if end["why"]:
        what = f"was ended: {end['why']}"
    elif answered:
        what = "wrote something else than an answer"
    elif end["signal"] == signal.SIGXCPU or end["cpu_s"] >= call.sandbox.cpu_s:
        what = f"used up its {call.sandbox.cpu_s} s of CPU time"
    elif end["signal"] is not None:
        what = f"was killed by {_signal(end['signal'])}"
    else:
        what = f"ended without an answer, with exit code {end['code']}"
    printed = words_printed(end)
    shown = f" It printed: {printed[-_SHOWN:]}" if printed else ""
    return ToolError(f"The process of the tool {call.tool!r} {what}.{shown}", error_type="transient")


def words_printed(end: dict[str, Any]) -> str:
    """What the tool printed, errors last."""
    output = end.get("output") or {}
    return " ".join(text.strip() for text in (output.get("stdout", ""), output.get("stderr", "")) if text.strip())


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
