"""Errors as JSON and back, so that a failure read from the journal behaves like the one that was recorded."""

from __future__ import annotations

import asyncio
from typing import Any

from opspawn.errors import (
    InvalidInput,
    ModelError,
    NotFound,
    OpspawnError,
    StepError,
    StepFailed,
    StepLimit,
    StepTimeout,
    ToolError,
)


def error_to_json(error: BaseException) -> dict[str, Any]:
    """Return `{"type", "message", "class", ...}`; the message is never empty."""
    text = str(error) or type(error).__name__
    if not isinstance(error, OpspawnError):
        kind = "timeout" if isinstance(error, (TimeoutError, asyncio.TimeoutError)) else "error"
        return {
            "type": kind,
            "message": f"{type(error).__name__}: {text}" if str(error) else text,
            "class": type(error).__name__,
        }
    data: dict[str, Any] = {"type": error.error_type, "message": text, "class": type(error).__name__}
    if isinstance(error, ModelError):
        data |= {k: v for k in ("status", "request_id") if (v := getattr(error, k)) is not None}
    if isinstance(error, InvalidInput) and error.faults:
        data["faults"] = list(error.faults)
    if isinstance(error, StepError) and error.key:
        data["key"] = error.key
    return data


def error_from_json(data: dict[str, Any]) -> OpspawnError:
    """Return the error to raise for a recorded failure: of the same class where that is one of ours, else `StepFailed`."""
    name, message, kind = data.get("class"), str(data.get("message", "")), str(data.get("type", "error"))
    error: OpspawnError
    if name == "ModelError":
        error = ModelError(message, error_type=kind, status=data.get("status"), request_id=data.get("request_id"))
    elif name == "InvalidInput":
        error = InvalidInput(message, faults=data.get("faults", ()))
    elif name in _PLAIN:
        error = _PLAIN[name](message)
    else:
        error = StepFailed(message, error_type=kind)
    if isinstance(error, StepError):
        error.key = data.get("key")
    return error


def normalised(error: Exception) -> OpspawnError:
    """Return what a step raises for `error`: the same now as after a replay."""
    if isinstance(error, (StepError, InvalidInput, NotFound)):
        return error
    return error_from_json(error_to_json(error))


_PLAIN: dict[str, type[StepError]] = {"ToolError": ToolError, "StepTimeout": StepTimeout, "StepLimit": StepLimit}
