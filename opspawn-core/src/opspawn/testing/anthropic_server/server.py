"""The scripted server of the Anthropic protocol: messages, and the counting of tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from opspawn.testing.anthropic_server.answers import frames as message_frames
from opspawn.testing.anthropic_server.answers import whole_message
from opspawn.testing.anthropic_server.requests import read_request
from opspawn.testing.model_server.http import HttpRequest
from opspawn.testing.model_server.server import ModelServer
from opspawn.testing.model_server.steps import Answer
from opspawn.testing.model_server.wire import BadRequest, Frame, Wire

_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class _Messages:
    id_header = "request-id"

    def read(self, body: Any, headers: Mapping[str, str]) -> dict[str, Any]:
        return read_request(body, headers)

    def whole(self, request: dict[str, Any], answer: Answer) -> dict[str, Any]:
        return whole_message(request, answer)

    def frames(self, request: dict[str, Any], answer: Answer) -> Iterator[Frame]:
        return message_frames(request, answer)

    def error(self, status: int, message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
        kind = _ERRORS.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": f"{param}: {message}" if param else message}}


class AnthropicServer(ModelServer):
    """A server for `POST /v1/messages` and `POST /v1/messages/count_tokens`; see `ModelServer`.

    `base_url` is what a client takes as its base URL, e.g. "http://127.0.0.1:40123". Counting uses up no step, and
    counts words.
    """

    wires: ClassVar[Mapping[str, Wire]] = {"/v1/messages": _Messages()}

    def other(self, http: HttpRequest) -> tuple[int, dict[str, Any]]:
        """The tokens of a request, or 404."""
        wire = self.wires["/v1/messages"]
        if (http.method, http.path) != ("POST", "/v1/messages/count_tokens"):
            return 404, wire.error(404, "Not Found")
        try:
            request = read_request({"max_tokens": 1, **json.loads(http.body)}, http.headers)
        except (BadRequest, ValueError, TypeError) as error:
            return 400, wire.error(400, str(error))
        words = sum(len(str(message["content"]).split()) for message in request["messages"])
        return 200, {"input_tokens": words + sum(len(json.dumps(tool).split()) for tool in request["tools"])}
