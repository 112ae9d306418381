"""What went wrong with a call, as a `ModelError` with the class of retry that fits and a remedy where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anthropic
import httpx2

from opspawn.agentkit.model_servers import Place
from opspawn.agentkit.providing import ServerFault, retry_after
from opspawn.errors import ModelError

#: The status that goes with a type of error, for errors that come without one, inside an answer.
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "api_error": 500,
    "overloaded_error": 529,
}
_TOO_LONG = ("prompt is too long", "context window", "context limit", "maximum context", "context length")


def model_error(error: Exception, place: Place) -> ModelError:
    """Return the `ModelError` for what the client library, or reading the answer, raised."""
    if isinstance(error, ServerFault):
        return _status(500, error.body, place)
    # The client lets through what its HTTP library raises once an answer has begun.
    if isinstance(error, (anthropic.APITimeoutError, httpx2.TimeoutException)):
        return place.late(error)
    if isinstance(error, (anthropic.APIConnectionError, httpx2.HTTPError)):
        return place.broken(error)
    if isinstance(error, anthropic.APIStatusError):
        headers: Mapping[str, str] = error.response.headers
        return _status(error.status_code, error.body, place, headers.get("request-id"), retry_after(headers))
    return place.unread(error, remedy="Check base_url in [plugins.anthropic]; it stands without /v1.")


def _status(
    status: int, body: Any, place: Place, request_id: str | None = None, wait_s: float | None = None
) -> ModelError:
    kind, text = _told(body)
    # An error inside a stream comes with status 200; its type then says what it is.
    known = _STATUS.get(kind, 500) if status < 400 or kind in _STATUS else status
    text = place.clean(text) or f"HTTP status {known}"
    error_type, message, remedy = _classify(known, text, place)
    return ModelError(
        message,
        error_type=error_type,
        retry_after_s=wait_s if error_type == "rate_limited" else None,
        status=status if status >= 400 and not (status == 500 and known != 500) else known,
        request_id=request_id,
        remedy=remedy,
    )


def _classify(status: int, text: str, place: Place) -> tuple[str, str, str | None]:
    """Return error type, message and remedy."""
    lower = text.lower()
    if status == 400 and "credit balance" in lower:
        status = 402
    if status == 529:
        return "rate_limited", f"The server at {place.server} is overloaded: {text}", None
    if status == 404:
        remedy = "Check the model's name, and base_url in [plugins.anthropic], which stands without /v1."
        return "permanent", f"Model {place.model!r} was not found at {place.server}: {text}", remedy
    if (known := place.said(status, text)) is not None:
        return known
    if status == 413 or any(hint in lower for hint in _TOO_LONG):
        return place.too_long(text)
    return place.refused(text)


def _told(body: Any) -> tuple[str, str]:
    """The type of an error, and its words."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if isinstance(error, Mapping):
        return str(error.get("type") or ""), str(error.get("message") or "")
    text = body if isinstance(body, str) else error if isinstance(error, str) else ""
    return "", "" if text.lstrip()[:1] == "<" else text  # a proxy's page says nothing that the status does not
