"""What went wrong with a call, as a `ModelError` with the class of retry that fits and a remedy where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import openai

from opspawn.agentkit.model_servers import Place
from opspawn.agentkit.providing import ServerFault, retry_after
from opspawn.errors import ModelError

_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_TOO_LONG = ("context length", "context_length", "maximum context", "context window", "context size")
#: Errors within an answer that would come again; any other there is the server's own trouble and worth another try.
_REFUSALS = ("invalid", "context_length", "policy", "unsupported", "content_filter", "not_found")


def model_error(error: Exception, place: Place) -> ModelError:
    """Return the `ModelError` for what the client library, or reading the answer, raised."""
    if isinstance(error, ServerFault):
        return _within_answer(error.body, place)
    if isinstance(error, openai.APITimeoutError):
        return place.late(error)
    if isinstance(error, openai.APIConnectionError):
        return place.broken(error)
    if isinstance(error, openai.APIStatusError):
        headers: Mapping[str, str] = error.response.headers
        return _status(error.status_code, error.body, place, error.request_id, retry_after(headers))
    if isinstance(error, openai.APIError):
        return _within_answer(error.body or {"message": error.message}, place)
    return place.unread(
        error, remedy="Check base_url (most servers want it to end in /v1) and dialect in [plugins.openai]."
    )


def _status(
    status: int, body: Any, place: Place, request_id: str | None = None, wait_s: float | None = None
) -> ModelError:
    code, text = _code(body), place.clean(_text(body)) or f"HTTP status {status}"
    kind, message, remedy = _classify(status, code, text, place)
    return ModelError(
        message, error_type=kind, retry_after_s=wait_s, status=status, request_id=request_id, remedy=remedy
    )


def _classify(status: int, code: str, text: str, place: Place) -> tuple[str, str, str | None]:
    """Return error type, message and remedy."""
    lower = text.lower()
    if code in _QUOTA:
        status = 402
    elif status == 400 and "api key" in lower:
        status = 401
    if status == 404:
        remedy = "Check the model's name, and base_url in [plugins.openai] (most servers want it to end in /v1)."
        return "permanent", f"Model {place.model!r} was not found at {place.server}: {text}", remedy
    if (known := place.said(status, text)) is not None:
        return known
    if code == "context_length_exceeded" or any(hint in lower for hint in _TOO_LONG):
        return place.too_long(text)
    if "content_filter" in code or "content_policy" in code:
        return "content_filter", f"The filter of {place.server} refused the request: {text}", None
    return place.refused(text)


def _within_answer(body: Any, place: Place) -> ModelError:
    """An error in a stream or a 200: some gateways give its HTTP status as the code, others a word, some nothing."""
    code, text = _code(body), place.clean(_text(body)) or "no reason given"
    if code.isdigit() and 400 <= int(code) <= 599:
        return _status(int(code), body, place)
    if code in _QUOTA or "rate_limit" in code:
        alike = 429
    elif any(word in code for word in _REFUSALS):
        alike = 400
    else:
        return ModelError(f"The server at {place.server} failed while it answered: {text}", error_type="transient")
    kind, message, remedy = _classify(alike, code, text, place)
    return ModelError(message, error_type=kind, remedy=remedy)


def _code(body: Any) -> str:
    if not isinstance(body, Mapping):
        return ""
    code = body.get("code")
    # "error" is the type of the event that carries an error, not a class of errors.
    kind = body.get("type") if body.get("type") != "error" else None
    return str(code if code is not None and code != "" else kind or "")


def _text(body: Any) -> str:
    if isinstance(body, Mapping):
        body = body.get("message") or body.get("detail") or ""
    if isinstance(body, str) and body.lstrip()[:1] == "<":
        return ""  # a proxy's HTML page says nothing that the status does not
    return body if isinstance(body, str) else str(body or "")
