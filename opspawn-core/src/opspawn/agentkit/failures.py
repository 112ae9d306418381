"""Errors as JSON and back, so that a failure read from the journal behaves like the one that was recorded."""

from __future__ import annotations

import asyncio
from typing import Any

from opspawn.errors import (
    BudgetExceeded,
    Denied,
    Halt,
    InvalidInput,
    ModelError,
    ModelRetry,
    NotFound,
    OpspawnError,
    StepError,
    StepFailed,
    StepLimit,
    StepTimeout,
    ToolError,
)

#: Longer messages (a whole HTML page, say) are cut, in characters: they are kept with every failure, and shown.
MAX_MESSAGE = 8192
#: What code of others may raise as a failure of its own. It wants to end the process only as far as it knows.
FAULTS = (Exception, SystemExit, KeyboardInterrupt)


def error_to_json(error: BaseException) -> dict[str, Any]:
    """Return `{"type", "message", "class", ...}`; the message is never empty, and cut at `MAX_MESSAGE`."""
    said = said_by(error)
    text = said or type(error).__name__
    if len(text) > MAX_MESSAGE:
        text = f"{text[:MAX_MESSAGE]}… ({len(text)} characters)"
    if not isinstance(error, OpspawnError):
        kind = "error"
        if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
            kind = "timeout"
        elif isinstance(error, ConnectionError):
            kind = "transient"
        return {
            "type": kind,
            "message": f"{type(error).__name__}: {text}" if said else text,
            "class": type(error).__name__,
        }
    data: dict[str, Any] = {"type": error.error_type, "message": text, "class": _own_class(error)}
    if isinstance(error, ModelError):
        data |= {k: v for k in ("status", "request_id") if (v := getattr(error, k)) is not None}
    if isinstance(error, InvalidInput) and error.faults:
        data["faults"] = list(error.faults)
    if isinstance(error, NotFound):
        data |= {"what": error.what, "name": error.name}
    if isinstance(error, BudgetExceeded):
        data |= {k: v for k in _BUDGET if (v := getattr(error, k)) is not None}
    if error.key and not isinstance(error, Halt):
        data["key"] = error.key
    if isinstance(error, StepError) and error.retry_after_s is not None:
        data["retry_after_s"] = error.retry_after_s
    if isinstance(error, StepError) and error.reason is not None:
        data["reason"] = error.reason
    return data


def said_by(error: BaseException) -> str:
    """What an error says of itself; nothing if its own code for that fails."""
    try:
        return str(error)
    except Exception:
        return ""


def named(error: BaseException) -> str:
    """An error by its class, and what it says: "KeyError: 'size'" says more than "'size'"."""
    said = said_by(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def spared(error: SystemExit | KeyboardInterrupt, who: str) -> StepFailed:
    """What code fails with that wants to end the process: asyncio would let the event loop end, with all that runs.

    Whoever presses Ctrl+C is heard elsewhere: by the handlers of signals, or by the task that runs the loop.
    """
    what = f"called sys.exit({error.code!r})" if isinstance(error, SystemExit) else "raised KeyboardInterrupt"
    return StepFailed(f"{who} {what}.")


def error_from_json(data: dict[str, Any]) -> OpspawnError:
    """Return the error to raise for a recorded failure: of the same class if that is one of ours, else `StepFailed`."""
    name, message, kind = data.get("class"), str(data.get("message", "")), str(data.get("type", "error"))
    error: OpspawnError
    if name == "ModelError":
        error = ModelError(message, error_type=kind, status=data.get("status"), request_id=data.get("request_id"))
    elif name == "InvalidInput":
        error = InvalidInput(message, faults=data.get("faults", ()))
    elif name == "NotFound":
        error = NotFound(str(data.get("what")), str(data.get("name")))
        error.message = message
    elif name == "BudgetExceeded":
        error = BudgetExceeded(message, **{k: data.get(k) for k in _BUDGET})
    elif name in _PLAIN:
        error = _PLAIN[name](message)
        error.error_type = kind
    else:
        error = StepFailed(message, error_type=kind)
    error.key = data.get("key")
    if isinstance(error, StepError):
        error.retry_after_s = data.get("retry_after_s")
        error.reason = data.get("reason", error.reason)
    return error


def normalised(error: BaseException) -> OpspawnError:
    """Return what a step raises for `error`: the same now as after a replay, as far as a journal can tell."""
    if type(error) in _KEPT:
        return error  # type: ignore[return-value]
    return error_from_json(error_to_json(error))


def failed_step(error: BaseException) -> str | None:
    """The key of the step whose failure lies under `error`: its own, or that of the nearest cause; None if no step
    failed.
    """
    seen: set[int] = set()
    left = [error]
    while left:
        one = left.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, OpspawnError) and one.key:
            return one.key
        if isinstance(one, BaseExceptionGroup):
            left += one.exceptions
        left += [under for under in (one.__cause__, one.__context__) if under is not None]
    return None


def _own_class(error: OpspawnError) -> str:
    """The nearest of our own classes: somebody's subclass would not be at hand when the journal is read."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == OpspawnError.__module__)


_PLAIN: dict[str, type[StepError]] = {
    kind.__name__: kind for kind in (ToolError, ModelRetry, Denied, StepTimeout, StepLimit)
}
_BUDGET = ("limit", "allowed", "spent")
_KEPT = frozenset({BudgetExceeded, ModelError, StepFailed, InvalidInput, NotFound, *_PLAIN.values()})
