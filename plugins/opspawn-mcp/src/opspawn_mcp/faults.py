"""What goes wrong with servers, in one line that names the server and the cause."""

from __future__ import annotations

from typing import Any

import httpx2
from mcp import MCPError
from mcp.types import CONNECTION_CLOSED, REQUEST_TIMEOUT
from pydantic import ValidationError

from opspawn.config.secrets import redact
from opspawn.errors import ToolError

_MOST_WORDS = 600
_TERMINATED = "Session terminated"


class ServerFault(ToolError):
    """A server cannot be used, or did not do what it was asked; names the server and the cause.

    `sent` says whether the server may have got the call.
    """

    def __init__(
        self,
        server: str,
        cause: str,
        *,
        error_type: str = "tool_error",
        sent: bool = False,
        remedy: str | None = None,
        tool: str | None = None,
    ) -> None:
        what = f"{server}/{tool}" if tool else server
        super().__init__(f"MCP server {what}: {short(cause)}.", error_type=error_type, remedy=remedy)
        self.server = server
        self.cause = cause
        self.sent = sent


def unwrapped(error: BaseException) -> BaseException:
    """The first cause in groups of exceptions, which is what went wrong."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return error


def is_lost(error: BaseException) -> bool:
    """Whether an error means that the connection is gone, so that a new one is needed."""
    error = unwrapped(error)
    if isinstance(error, MCPError):
        return error.code == CONNECTION_CLOSED or _TERMINATED in error.message
    return isinstance(error, httpx2.TransportError | OSError)


def is_late(error: BaseException) -> bool:
    """Whether the SDK gave up waiting."""
    return isinstance(error, MCPError) and error.code == REQUEST_TIMEOUT


def in_words(error: BaseException, status: str = "") -> str:
    """An error of the SDK, of HTTP or of the system, in one line without its class where the words suffice.

    `status` is told where the SDK says only that there was an error.
    """
    error = unwrapped(error)
    if isinstance(error, MCPError):
        hidden = status and any(words in error.message for words in ("error response", "stream ended"))
        return f"it answered with {status}" if hidden else error.message or f"error {error.code}"
    if isinstance(error, ValidationError):
        first: Any = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"it answered with what the protocol does not know: {place}: {first['msg']}"
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"there is no {error.filename}"
    text = " ".join(str(error).split())
    return text if text and isinstance(error, httpx2.HTTPError | OSError | ToolError) else _with_class(error, text)


def short(text: str) -> str:
    """The text on one line, without secrets, and not too long."""
    text = redact(" ".join(text.split())).rstrip(".")
    return text if len(text) <= _MOST_WORDS else f"{text[:_MOST_WORDS]}…"


def _with_class(error: BaseException, text: str) -> str:
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
