"""Sends loguru's and the standard library's records to one stream, as JSON lines or as text for people."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, TextIO

from loguru import logger

from opspawn import details
from opspawn.config.secrets import redact
from opspawn.config.settings import LogFormat, LogLevel
from opspawn.logs.writing import json_line, log_object, text_line

if TYPE_CHECKING:
    from loguru import Message

# Clients that tell of every request at level info.
_CHATTY = ("httpcore", "httpcore2", "httpx", "httpx2", "openai", "asyncio")


class Intercept(logging.Handler):
    """Hands records of the standard library (uvicorn, openai, …) to loguru, under the name of their logger."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record on."""
        try:
            message = record.getMessage()
        except (
            TypeError,
            ValueError,
        ):  # the arguments do not fit the text: somebody else's mistake, still worth a line
            message = str(record.msg)
        logger.opt(exception=record.exc_info).bind(logger=record.name).log(
            _level(record.levelno).upper(), "{}", message
        )


def configure(level: LogLevel = "info", format: LogFormat = "auto", stream: TextIO | None = None) -> None:
    """Send everything logged in this process to one stream, instead of wherever it went before.

    Secrets are redacted, and values of variables never shown in tracebacks. Called again, it replaces the former sink.

    Args:
        level: the least level that is written.
        format: "json", one object a line; "text"; or "auto": text if the stream is a terminal.
        stream: standard error by default. Text is coloured on a terminal, unless NO_COLOR is set.
    """
    terminal = _is_terminal(stream or sys.stderr)
    as_text = format == "text" or (format == "auto" and terminal)
    colour = terminal and not os.environ.get("NO_COLOR")

    def write(message: Message) -> None:
        record = message.record
        line = log_object(
            record["time"], _level(record["level"].no), record["message"], record["extra"], _exception(message)
        )
        target = stream or sys.stderr  # looked up now: whoever replaces it means our lines too
        target.write((text_line(line, colour=colour) if as_text else json_line(line)) + "\n")
        target.flush()

    logger.enable(details.__name__)
    logger.remove()
    # Its own traceback format would show values; `Message` carries the plain one because of {exception}.
    logger.add(write, level=level.upper(), format=lambda _: "{exception}", backtrace=False, diagnose=False)
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, Intercept)]:
        root.removeHandler(handler)
    root.addHandler(Intercept())
    root.setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
    logging.captureWarnings(True)


def _exception(message: Message) -> tuple[str, str] | None:
    """Type and traceback of a record's exception."""
    exception = message.record["exception"]
    if exception is None or exception.type is None:
        return None
    error_type = getattr(exception.value, "error_type", None)
    return (error_type if isinstance(error_type, str) else exception.type.__name__), redact(str(message).strip())


def _level(number: int) -> str:
    return "debug" if number < 20 else "info" if number < 30 else "warning" if number < 40 else "error"


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False
