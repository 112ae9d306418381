"""The provider: the official client, without its retries."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import cache
from typing import Any

import anthropic
import httpx2

from opspawn.agentkit.model_servers import ClientOfLoop, Place, json_events, json_object
from opspawn.agentkit.providing import BrokenAnswer, ServerFault, count, shown_url
from opspawn.contracts.model import ModelCapabilities, ModelRequest, ModelResponse, OnDelta
from opspawn_model_anthropic.failures import model_error
from opspawn_model_anthropic.reading import Reader, whole_answer
from opspawn_model_anthropic.writing import Writing

_Stream = anthropic.AsyncStream[object]
_PATH = "/v1/messages"
_VERSION = re.compile(r"claude-[a-z]+-(\d+)(?:-(\d{1,2}))?(?:-|$)")
_COUNTED = ("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config")


class AnthropicProvider:
    """Models at Anthropic, or at any server with its protocol. Makes no retries.

    Args:
        base_url: where the API is, without /v1.
        api_key: the key; "" for a server that wants none.
        official: whether this is Anthropic itself.
        writing: how requests are written.
        timeout_s: seconds without a byte until a call fails.
        connect_timeout_s: seconds to reach the server.
        headers: further headers of every request.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        official: bool = False,
        writing: Writing | None = None,
        timeout_s: float = 600.0,
        connect_timeout_s: float = 10.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._base_url = base_url
        self._official = official
        self._writing = writing or Writing()
        self._secrets = (*([api_key] if api_key else ()), *filter(None, (headers or {}).values()))
        # Gateways look for the key where the client put it before its second version.
        more = {} if official or not api_key else {"x-api-key": api_key}
        self._options: dict[str, Any] = {
            "base_url": base_url,
            # Without a key the client would look for credentials in the user's home.
            "api_key": api_key or "no-key",
            "default_headers": {**more, **(headers or {})},
            "timeout": httpx2.Timeout(timeout_s, connect=connect_timeout_s),
            "max_retries": 0,
        }
        self._client = ClientOfLoop(self._open)

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelResponse:
        """Make one model call; see `ModelProvider.complete`. Cancelling it closes its connection."""
        body = self._writing.body(request, stream=on_delta is not None)
        output_tool = request.output_schema is not None and not self._writing.native(request)
        try:
            if on_delta is None:
                response = await self._post(_PATH, body)
                return _with_id(whole_answer(request, json_object(response), output_tool=output_tool), response)
            return await self._streamed(body, Reader(request, on_delta, output_tool=output_tool))
        except (anthropic.AnthropicError, httpx2.HTTPError, ServerFault, BrokenAnswer) as error:
            # Not "from error": the client's errors quote the server's words, in which a key may stand.
            raise model_error(error, self._place(request)) from None

    async def count_tokens(self, request: ModelRequest) -> int:
        """The tokens of the input, as the vendor counts them, for free. Raises: ModelError."""
        body = self._writing.body(request, stream=False)
        try:
            response = await self._post(f"{_PATH}/count_tokens", {key: body[key] for key in _COUNTED if key in body})
            return count(json_object(response), "input_tokens")
        except (anthropic.AnthropicError, httpx2.HTTPError, BrokenAnswer) as error:
            raise model_error(error, self._place(request)) from None

    def capabilities(self, model: str) -> ModelCapabilities:
        """What `model` can do, by its name."""
        version = _VERSION.match(model)
        prices = "anthropic" if self._official else None
        if version is None:
            known = ModelCapabilities(True, True, streaming=True, reasoning=True)
            return replace(known, count_tokens=self._official, prices=prices)
        number = (int(version[1]), int(version[2] or 0))
        return ModelCapabilities(
            tools=True,
            parallel_tools=True,
            output_schema=number >= (4, 5) and self._writing.output != "tool",
            images=True,
            files=True,
            reasoning=True,
            streaming=True,
            count_tokens=self._official,
            context_tokens=1_000_000 if number >= (4, 6) else 200_000,
            prices=prices,
        )

    async def _post(self, path: str, body: dict[str, Any]) -> httpx2.Response:
        options: Any = {"headers": self._writing.headers(body)}
        return await self._client.get().post(path, body=body, cast_to=httpx2.Response, options=options)

    async def _streamed(self, body: dict[str, Any], reader: Reader) -> ModelResponse:
        options: Any = {"headers": self._writing.headers(body)}
        stream = await self._client.get().post(
            _PATH, body=body, cast_to=object, options=options, stream=True, stream_cls=_Stream
        )
        # Leaving the block closes the response, and with an unfinished stream the connection.
        async with stream:
            async with aclosing(json_events(stream)) as events:
                async for event in events:
                    reader.feed(event)
            return _with_id(reader.finish(), stream.response)

    def _open(self) -> anthropic.AsyncAnthropic:
        # Our own HTTP client: the SDK's, when dropped, closes itself on whatever loop runs then, and complains.
        http = httpx2.AsyncClient(verify=_tls(), follow_redirects=True, limits=anthropic.DEFAULT_CONNECTION_LIMITS)
        return anthropic.AsyncAnthropic(http_client=http, **self._options)

    def _place(self, request: ModelRequest) -> Place:
        return Place("anthropic", shown_url(self._base_url), request.model, self._secrets)

    async def aclose(self) -> None:
        """Close the connections. Idempotent; a later call opens new ones."""
        await self._client.aclose()


@cache
def _tls() -> ssl.SSLContext:
    """What connections are checked against: dear to make, never changed, and the same for all clients."""
    return httpx2.create_ssl_context()


def _with_id(response: ModelResponse, http: httpx2.Response) -> ModelResponse:
    id = http.headers.get("request-id")
    return replace(response, request_id=id) if id else response
