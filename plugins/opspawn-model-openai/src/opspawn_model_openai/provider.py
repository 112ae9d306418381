"""The provider: the official client, without its retries, speaking one of the two dialects."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import cache
from typing import Any, Literal

import httpx2
import openai

from opspawn.agentkit.model_servers import ClientOfLoop, Place, json_events, json_object
from opspawn.agentkit.providing import BrokenAnswer, ServerFault, count, shown_url
from opspawn.contracts.model import ModelCapabilities, ModelRequest, ModelResponse, OnDelta
from opspawn_model_openai.chat import ChatDialect
from opspawn_model_openai.dialect import Dialect
from opspawn_model_openai.failures import model_error
from opspawn_model_openai.responses import ResponsesDialect
from opspawn_model_openai.servers import SERVERS, Server, capabilities

_COUNTED = ("model", "input", "tools", "tool_choice", "text", "reasoning")
_Stream = openai.AsyncStream[object]


class OpenAIProvider:
    """Models at OpenAI, or at any server with one of its protocols. Makes no retries.

    Answers are read as plain JSON, not as the client's types: other servers leave out what those take for granted.

    Args:
        base_url: where the API is, with its path.
        api_key: the key; "" for a server that wants none.
        dialect: the protocol to speak.
        server: what kind of server it is.
        timeout_s: seconds without a byte until a call fails.
        connect_timeout_s: seconds to reach the server.
        organization: OpenAI's id of the organisation; None leaves it to OPENAI_ORG_ID.
        headers: further headers of every request.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        dialect: Literal["responses", "chat"],
        server: Server = SERVERS["other"],
        timeout_s: float = 600.0,
        connect_timeout_s: float = 10.0,
        organization: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._dialect: Dialect = ResponsesDialect(server) if dialect == "responses" else ChatDialect(server)
        self._name, self._server, self._base_url = dialect, server, base_url
        self._secrets = (*([api_key] if api_key else ()), *filter(None, (headers or {}).values()))
        self._options: dict[str, Any] = {
            "base_url": base_url,
            # The client insists on a key; servers that want none ignore it.
            "api_key": api_key or "no-key",
            "organization": organization,
            "default_headers": dict(headers or {}),
            "timeout": httpx2.Timeout(timeout_s, connect=connect_timeout_s),
            "max_retries": 0,
        }
        self._client = ClientOfLoop(self._open)

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelResponse:
        """Make one model call; see `ModelProvider.complete`. Cancelling it closes its connection."""
        body = self._dialect.body(request, stream=on_delta is not None)
        try:
            if on_delta is None:
                return await self._whole(request, body)
            return await self._streamed(request, body, on_delta)
        except (openai.OpenAIError, ServerFault, BrokenAnswer) as error:
            # Not "from error": the client's errors quote the server's words, in which a key may stand.
            raise model_error(error, self._place(request)) from None

    def capabilities(self, model: str) -> ModelCapabilities:
        """What `model` can do, as far as its name and the kind of server tell."""
        return capabilities(self._server, self._name, model)

    async def count_tokens(self, request: ModelRequest) -> int:
        """The tokens of the input, as OpenAI itself counts them in its own protocol. Raises: ModelError."""
        body = self._dialect.body(request, stream=False)
        counted = {key: body[key] for key in _COUNTED if key in body}
        try:
            response = await self._client.get().post(
                f"{self._dialect.path}/input_tokens", body=counted, cast_to=httpx2.Response
            )
            return count(response.json(), "input_tokens")
        except (openai.OpenAIError, ValueError) as error:
            raise model_error(error, self._place(request)) from None

    async def ask(self, path: str, body: dict[str, Any], model: str) -> dict[str, Any]:
        """The JSON object that another endpoint answers with. Raises: ModelError."""
        try:
            return json_object(await self._client.get().post(path, body=body, cast_to=httpx2.Response))
        except (openai.OpenAIError, BrokenAnswer) as error:
            raise model_error(error, Place("openai", shown_url(self._base_url), model, self._secrets)) from None

    async def _whole(self, request: ModelRequest, body: dict[str, Any]) -> ModelResponse:
        response = await self._client.get().post(self._dialect.path, body=body, cast_to=httpx2.Response)
        return _with_id(self._dialect.answer(request, json_object(response)), response)

    async def _streamed(self, request: ModelRequest, body: dict[str, Any], on_delta: OnDelta) -> ModelResponse:
        reader = self._dialect.reader(request, on_delta)
        stream = await self._client.get().post(
            self._dialect.path, body=body, cast_to=object, stream=True, stream_cls=_Stream
        )
        # Leaving the block closes the response, and with an unfinished stream the connection.
        async with stream:
            async with aclosing(json_events(stream)) as events:
                async for event in events:
                    reader.feed(event)
            return _with_id(reader.finish(), stream.response)

    def _open(self) -> openai.AsyncOpenAI:
        # Our own HTTP client: the SDK's, when dropped, closes itself on whatever loop runs then, and complains.
        http = httpx2.AsyncClient(verify=_tls(), follow_redirects=True, limits=openai.DEFAULT_CONNECTION_LIMITS)
        return openai.AsyncOpenAI(http_client=http, **self._options)

    def _place(self, request: ModelRequest) -> Place:
        return Place("openai", shown_url(self._base_url), request.model, self._secrets)

    async def aclose(self) -> None:
        """Close the connections. Idempotent; a later call opens new ones."""
        await self._client.aclose()


@cache
def _tls() -> ssl.SSLContext:
    """What connections are checked against: dear to make, never changed, and the same for all clients."""
    return httpx2.create_ssl_context()


def _with_id(response: ModelResponse, http: httpx2.Response) -> ModelResponse:
    id = http.headers.get("x-request-id")
    return replace(response, request_id=id) if id else response
