"""A failure read from a journal behaves like the one that was recorded."""

from __future__ import annotations

from typing import Any

import pytest

from opspawn.agentkit.failures import MAX_MESSAGE, error_from_json, error_to_json, failed_step, normalised
from opspawn.errors import (
    InvalidInput,
    ModelError,
    NotFound,
    StepError,
    StepFailed,
    StepLimit,
    StepTimeout,
    StoreError,
    ToolError,
)


def with_key(error: StepError, key: str) -> StepError:
    error.key = key
    return error


@pytest.mark.parametrize(
    "error",
    [
        ToolError("no seat"),
        ToolError("no seat", remedy="Take another."),
        with_key(ToolError("no seat"), "act/0"),
        ModelError("slow", error_type="rate_limited", status=429, request_id="r-1"),
        ModelError("who are you?", error_type="denied", remedy="Set OPENAI_API_KEY."),
        InvalidInput("wrong", faults=["n: must be a number."]),
        NotFound("agent", "x", known=["a", "b"]),
        StepTimeout("too slow"),
        StepLimit("too many"),
        StepFailed("ValueError: no", error_type="error"),
    ],
)
def test_our_errors_come_back_as_they_were(error: Any) -> None:
    back: Any = error_from_json(error_to_json(error))

    assert type(back) is type(error)
    assert str(back) == str(error)
    assert back.error_type == error.error_type
    for name in ("key", "status", "request_id", "faults", "what", "name"):
        assert getattr(back, name, None) == getattr(error, name, None)


class NoSeat(ToolError):
    """Somebody's own class."""

    error_type = "no_seat"


@pytest.mark.parametrize(
    ("error", "kind", "error_type", "message"),
    [
        (ValueError("no"), StepFailed, "error", "ValueError: no"),
        (KeyError("x"), StepFailed, "error", "KeyError: 'x'"),
        (RuntimeError(), StepFailed, "error", "RuntimeError"),
        (TimeoutError(), StepFailed, "timeout", "TimeoutError"),
        (TimeoutError("late"), StepFailed, "timeout", "TimeoutError: late"),
        (StoreError("disk full"), StepFailed, "store", "disk full"),
        (NoSeat("full"), ToolError, "no_seat", "full"),
        (SystemExit(3), StepFailed, "error", "SystemExit: 3"),
    ],
)
def test_what_a_step_raises_is_the_same_now_as_after_a_replay(
    error: BaseException, kind: type, error_type: str, message: str
) -> None:
    now = normalised(error)
    later = error_from_json(error_to_json(now))

    for one in (now, later):
        assert (type(one), one.error_type, str(one)) == (kind, error_type, message)


def test_a_message_is_cut_before_it_becomes_a_burden() -> None:
    told = error_to_json(ValueError("x" * 1_000_000))

    assert len(told["message"]) < MAX_MESSAGE + 100
    assert told["message"].endswith("(1000000 characters)")


def test_the_failed_step_is_found_under_what_was_made_of_it() -> None:
    under = with_key(ToolError("no seat"), "gather/1/book")
    made = ValueError("the trip is off")
    made.__cause__ = RuntimeError("in between")
    made.__cause__.__cause__ = under

    assert failed_step(under) == "gather/1/book"
    assert failed_step(made) == "gather/1/book"
    assert failed_step(ExceptionGroup("many", [ValueError("x"), made])) == "gather/1/book"
    assert failed_step(ValueError("a bug")) is None


def test_a_circle_of_causes_has_an_end() -> None:
    one, other = ValueError("1"), ValueError("2")
    one.__cause__, other.__cause__ = other, one

    assert failed_step(one) is None
