"""The scripted server of the OpenAI protocol: both dialects of it, the list of models, and the counting of tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from opspawn.testing.hashing import HashingEmbedder
from opspawn.testing.model_server.http import HttpRequest
from opspawn.testing.model_server.server import ModelServer
from opspawn.testing.model_server.steps import Answer
from opspawn.testing.model_server.wire import BadRequest, Frame, Wire
from opspawn.testing.openai_server.answers import chat_answer, chat_frames, responses_answer, responses_frames
from opspawn.testing.openai_server.requests import read_request

_ERRORS = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


class _Chat:
    id_header = "x-request-id"
    _dialect = "chat"

    def read(self, body: Any, headers: Mapping[str, str]) -> dict[str, Any]:
        return read_request(self._dialect, body)

    def whole(self, request: dict[str, Any], answer: Answer) -> dict[str, Any]:
        return chat_answer(request, answer)

    def frames(self, request: dict[str, Any], answer: Answer) -> Iterator[Frame]:
        return chat_frames(request, answer)

    def error(self, status: int, message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
        if code is None and status != 400:
            code = _ERRORS.get(status, "server_error" if status >= 500 else "invalid_request_error")
        kind = "invalid_request_error" if status == 400 else code
        return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class _Responses(_Chat):
    _dialect = "responses"

    def whole(self, request: dict[str, Any], answer: Answer) -> dict[str, Any]:
        return responses_answer(request, answer)

    def frames(self, request: dict[str, Any], answer: Answer) -> Iterator[Frame]:
        return responses_frames(request, answer)


class _Embeddings(_Chat):
    """Vectors of hashed words; each text counts as a message. Of a script's steps only failures matter."""

    def read(self, body: Any, headers: Mapping[str, str]) -> dict[str, Any]:
        given = body.get("input") if isinstance(body, dict) else None
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
            raise BadRequest("'$.input' is invalid.", "input")
        if not isinstance(body.get("model"), str) or not body["model"]:
            raise BadRequest("you must provide a model parameter", "model")
        messages = [{"role": "user", "content": text} for text in texts]
        told = {"dialect": "embeddings", "model": body["model"], "messages": messages, "tools": []}
        return {**told, "stream": False, "body": body}

    def whole(self, request: dict[str, Any], answer: Answer) -> dict[str, Any]:
        embedder, texts = HashingEmbedder(), [message["content"] for message in request["messages"]]
        rows = [{"object": "embedding", "index": n, "embedding": embedder.vector(text)} for n, text in enumerate(texts)]
        tokens = sum(len(text.split()) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": rows[::-1], "model": request["model"], "usage": usage}


class OpenAIServer(ModelServer):
    """A server for `POST /v1/chat/completions`, `/v1/responses` and `/v1/embeddings`, and `GET /v1/models`; see
    `ModelServer`.

    `base_url` is what a client takes as its base URL, e.g. "http://127.0.0.1:40123/v1".
    """

    wires: ClassVar[Mapping[str, Wire]] = {
        "/v1/chat/completions": _Chat(),
        "/v1/responses": _Responses(),
        "/v1/embeddings": _Embeddings(),
    }
    prefix = "/v1"

    def other(self, http: HttpRequest) -> tuple[int, dict[str, Any]]:
        """The list of models, or 404."""
        if http.method == "GET" and http.path == "/v1/models":
            data = [{"id": name, "object": "model", "owned_by": "opspawn"} for name in self.models or ("scripted",)]
            return 200, {"object": "list", "data": data}
        if (http.method, http.path) == ("POST", "/v1/responses/input_tokens"):
            try:
                request = read_request("responses", json.loads(http.body))
            except (BadRequest, ValueError) as error:
                return 400, self.wires["/v1/responses"].error(400, str(error))
            words = sum(len(message["content"].split()) for message in request["messages"])
            return 200, {"object": "response.input_tokens", "input_tokens": words}
        return super().other(http)
