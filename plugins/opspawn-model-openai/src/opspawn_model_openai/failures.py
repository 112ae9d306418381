"""What went wrong with a call, as a `ModelError` with the class of retry that fits and a remedy where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import openai

from opspawn.agentkit.providing import BrokenAnswer, ServerFault, retry_after, without_secrets
from opspawn.errors import ModelError

_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_TOO_LONG = ("context length", "context_length", "maximum context", "context window", "context size")
#: Errors within an answer that would come again; any other there is the server's own trouble and worth another try.
_REFUSALS = ("invalid", "context_length", "policy", "unsupported", "content_filter", "not_found")
_CHECK_KEY = "Check OPENAI_API_KEY, or api_key in [plugins.openai]."


@dataclass(frozen=True, slots=True)
class Place:
    """Whom was asked for what, for the text of errors; `secrets` must not appear in any."""

    server: str
    model: str
    secrets: Sequence[str] = ()

    def clean(self, text: str) -> str:
        """One line without secrets; servers like to quote the key they refuse."""
        return without_secrets(text, self.secrets)


def model_error(error: Exception, place: Place) -> ModelError:
    """Return the `ModelError` for what the client library, or reading the answer, raised."""
    if isinstance(error, ServerFault):
        return _within_answer(error.body, place)
    if isinstance(error, openai.APITimeoutError):
        return _timeout(error, place)
    if isinstance(error, openai.APIConnectionError):
        return _connection(error, place)
    if isinstance(error, openai.APIStatusError):
        headers: Mapping[str, str] = error.response.headers
        return _status(error.status_code, error.body, place, error.request_id, retry_after(headers))
    if isinstance(error, openai.APIError):
        return _within_answer(error.body or {"message": error.message}, place)
    if isinstance(error, BrokenAnswer) and error.foreign:
        return ModelError(
            f"The server at {place.server} does not speak this protocol: {error}.",
            remedy="Check base_url (most servers want it to end in /v1) and dialect in [plugins.openai].",
        )
    return ModelError(place.clean(f"The server at {place.server} broke off: {error}."), error_type="transient")


def _timeout(error: openai.APITimeoutError, place: Place) -> ModelError:
    if "Connect" in type(error.__cause__).__name__:
        return ModelError(
            f"The model server at {place.server} could not be reached in time.",
            error_type="timeout",
            remedy="Is the server running, and base_url right?",
        )
    return ModelError(
        f"Model {place.model!r} at {place.server} did not answer in time.",
        error_type="timeout",
        remedy="Raise timeout_s in [plugins.openai] if it is only slow.",
    )


def _connection(error: openai.APIConnectionError, place: Place) -> ModelError:
    cause = error.__cause__
    if "Connect" in type(cause).__name__:
        text = place.clean(f"The model server at {place.server} cannot be reached: {str(cause) or 'no connection'}.")
        return ModelError(text, error_type="transient", remedy="Is the server running, and base_url right?")
    text = f"The connection to the model server at {place.server} broke before the answer was complete."
    return ModelError(text, error_type="transient")


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
    if status == 402 or code in _QUOTA:
        return "denied", f"The account at {place.server} has no credit left: {text}", "Add credit, or use another key."
    if status in (401, 403) or (status == 400 and "api key" in lower):
        return "denied", f"The server at {place.server} refused the key: {text}", _CHECK_KEY
    if status == 429:
        return "rate_limited", f"The server at {place.server} asks to slow down: {text}", None
    if status == 404:
        remedy = "Check the model's name, and base_url in [plugins.openai] (most servers want it to end in /v1)."
        return "permanent", f"Model {place.model!r} was not found at {place.server}: {text}", remedy
    if status in (408, 409, 425) or status >= 500:
        return "transient", f"The server at {place.server} failed with status {status}: {text}", None
    if code == "context_length_exceeded" or any(hint in lower for hint in _TOO_LONG):
        remedy = "Give the model less to read, or use one with a longer context."
        return "context_overflow", f"Context length exceeded for model {place.model!r}: {text}", remedy
    if "content_filter" in code or "content_policy" in code:
        return "content_filter", f"The filter of {place.server} refused the request: {text}", None
    return "permanent", f"The server at {place.server} refused the request: {text}", None


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
