"""Logs: one JSON object a line or text for people, without secrets, whoever logged it."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from loguru import logger

from opspawn.contracts.events import EVENT_TYPES, Event
from opspawn.errors import StoreError
from opspawn.logs import configure, event_line, log_event, write_event
from opspawn.logs.setup import Intercept

KEYS = ["time", "level", "message", "agent", "session", "task", "attempt", "error_type"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """No sink, handler or level outlives a test."""
    root = logging.getLogger()
    level = root.level
    yield
    logger.remove()
    logging.captureWarnings(False)
    root.setLevel(level)
    for handler in [handler for handler in root.handlers if isinstance(handler, Intercept)]:
        root.removeHandler(handler)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_json_line_has_the_promised_keys_and_then_what_was_bound() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)

    logger.bind(agent="helper", task="t1", error_type="timeout", attempt=2).warning("Too slow: {}", 3)

    (line,) = lines(stream)
    assert list(line) == KEYS
    assert (line["level"], line["message"], line["agent"], line["session"]) == (
        "warning",
        "Too slow: 3",
        "helper",
        None,
    )
    assert (line["task"], line["error_type"], line["attempt"]) == ("t1", "timeout", 2)
    assert line["time"].endswith("Z")
    assert datetime.fromisoformat(line["time"]).tzinfo is UTC


def test_auto_is_json_in_a_pipe_and_text_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    pipe, terminal = io.StringIO(), Terminal()

    configure("info", "auto", pipe)
    logger.info("one")
    configure("info", "auto", terminal)
    logger.bind(agent="helper").info("two")

    assert lines(pipe)[0]["message"] == "one"
    assert "two" in terminal.getvalue()
    assert "agent=helper" in terminal.getvalue()
    assert "\x1b[" in terminal.getvalue()


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    configure("info", "auto", terminal)

    logger.error("red?")

    assert "\x1b[" not in terminal.getvalue()


def test_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    configure("warning", "json", stream)

    logger.info("no")
    logging.getLogger("some.library").info("no")
    logger.error("yes")

    assert [line["message"] for line in lines(stream)] == ["yes"]


def test_configuring_again_replaces_the_former_sink() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("info", "json", first)
    configure("info", "json", second)

    logger.info("once")
    logging.getLogger("library").warning("once more")

    assert first.getvalue() == ""
    assert [line["message"] for line in lines(second)] == ["once", "once more"]


def test_records_of_the_standard_library_come_the_same_way() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)

    logging.getLogger("uvicorn.error").info("Started %s", "server")
    # By hand, because pytest listens too, and would raise.
    Intercept().emit(logging.LogRecord("odd", logging.WARNING, "", 0, "does not %d fit", ("text",), None))

    first, second = lines(stream)
    assert (first["message"], first["level"], first["logger"]) == ("Started server", "info", "uvicorn.error")
    assert second["message"] == "does not %d fit"


def test_clients_that_tell_of_every_request_are_quiet_unless_debugging() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    logging.getLogger("httpx").info("HTTP Request")
    assert stream.getvalue() == ""

    configure("debug", "json", stream)
    logging.getLogger("httpx").info("HTTP Request")
    assert [line["message"] for line in lines(stream)] == ["HTTP Request"]


def test_python_warnings_are_lines_too() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old thing", DeprecationWarning, stacklevel=1)

    assert "old thing" in lines(stream)[0]["message"]
    assert lines(stream)[0]["logger"] == "py.warnings"


def test_secrets_are_redacted_in_messages_extras_and_tracebacks() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)

    logger.bind(api_key="hunter22", url="http://me:hunter22@host").info("with sk-hunter22hunter22")
    try:
        password = "hunter22"
        raise ValueError(f"Bearer {password}")
    except ValueError:
        logger.exception("It failed")

    assert "hunter22" not in stream.getvalue()
    assert [line["message"] for line in lines(stream)] == ["with ***", "It failed"]
    assert "ValueError: Bearer ***" in lines(stream)[1]["exception"]


def test_an_exception_gives_its_type_and_traceback_in_one_json_line() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)

    try:
        raise StoreError("disk full")
    except StoreError:
        logger.exception("It failed")
    try:
        raise KeyError("x")
    except KeyError:
        logging.getLogger("library").exception("So did this")

    first, second = lines(stream)
    assert first["error_type"] == "store"
    assert "Traceback" in first["exception"]
    assert second["error_type"] == "KeyError"


def test_text_for_people_stays_on_one_line_and_holds_no_escape_sequences() -> None:
    stream = io.StringIO()
    configure("info", "text", stream)

    logger.bind(note="two words").info("a\nb \x1b[31mred")

    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()
    assert 'note="two words"' in stream.getvalue()


def test_values_that_json_does_not_know_do_not_break_the_line() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)

    logger.bind(when=datetime(2026, 1, 1, tzinfo=UTC), where={1, 2}).info("odd")

    assert lines(stream)[0]["where"] == "{1, 2}"


def event(type: str, data: dict[str, Any] | None = None, **rest: Any) -> Event:
    return Event(
        7, "t1", datetime(2026, 1, 31, 9, 30, tzinfo=UTC), type, data or {}, agent="helper", session="s1", **rest
    )


@pytest.mark.parametrize("type", EVENT_TYPES)
def test_every_type_of_event_has_a_message_even_without_data(type: str) -> None:
    line = event_line(event(type))

    assert list(line)[:8] == KEYS
    assert line["message"].endswith((".", "?"))
    assert line["message"] != type
    assert (line["time"], line["type"], line["position"]) == ("2026-01-31T09:30:00.000000Z", type, 7)
    assert (line["agent"], line["session"], line["task"]) == ("helper", "s1", "t1")


@pytest.mark.parametrize(
    ("type", "data", "message"),
    [
        ("task.claimed", {"worker": "w1", "deliveries": 0}, "Taken by worker w1."),
        ("task.claimed", {"worker": "w1", "deliveries": 1}, "Taken by worker w1, after 1 lost claim."),
        ("task.failed", {"error": {"type": "timeout", "message": "It took too long."}}, "Failed: It took too long."),
        (
            "step.done",
            {"key": "think#1", "kind": "think", "name": "gpt-5", "duration_s": 1.5},
            "Model call 'gpt-5' done in 1.5 s.",
        ),
        ("child.ended", {"child": "c1", "state": "succeeded"}, "Child c1 ended, succeeded."),
        (
            "task.retry",
            {"error": {"message": "503"}, "attempt": 1, "delay_s": 0.25},
            "Attempt 1 failed: 503. Next try in 250 ms.",
        ),
    ],
)
def test_the_message_of_an_event_tells_what_happened(type: str, data: dict[str, Any], message: str) -> None:
    assert event_line(event(type, data))["message"] == message


def test_an_event_line_carries_small_facts_but_no_inputs_or_results() -> None:
    data = {
        "key": "k",
        "kind": "tool",
        "name": "search",
        "result": "private",
        "arguments": {"q": "private"},
        "duration_s": 2,
    }

    line = event_line(event("step.done", data, error_type=None))

    assert (line["key"], line["name"], line["duration_s"]) == ("k", "search", 2)
    assert "private" not in json.dumps(line)


def test_a_custom_event_shows_its_data_without_secrets() -> None:
    line = event_line(event("custom.paid", {"amount": 3, "token": "hunter22"}))

    assert (line["message"], line["data"]) == ("paid", {"amount": 3, "token": "***"})


def test_an_event_is_logged_at_its_own_level_and_time() -> None:
    stream = io.StringIO()
    configure("warning", "json", stream)

    log_event(event("task.accepted"))
    log_event(event("task.failed", {"error": {"message": "no {braces}"}}, level="error", error_type="tool_error"))

    (line,) = lines(stream)
    assert line == event_line(
        event("task.failed", {"error": {"message": "no {braces}"}}, level="error", error_type="tool_error")
    )


def test_an_event_is_written_as_data() -> None:
    as_json, as_text = io.StringIO(), io.StringIO()

    write_event(event("task.succeeded"), True, as_json)
    write_event(event("task.succeeded"), stream=as_text)

    assert lines(as_json) == [event_line(event("task.succeeded"))]
    assert "INFO    Succeeded. agent=helper" in as_text.getvalue()
    assert as_text.getvalue().startswith("2026-01-")
