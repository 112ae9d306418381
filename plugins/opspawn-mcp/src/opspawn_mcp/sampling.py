"""Sampling: what a server wants a model asked in the middle of a call is asked by the run that made the call.

It is a model call of that run: under its policies and budgets, recorded, counted, and found again after a crash. How
much one server may ask in one run is bounded, and unless the operator says otherwise a human sees each request before
it is sent. In the modern era the SDK asks within the call itself; in the older one a server asks on its connection, so
that calls to a server that may ask are made one after another, as with elicitation.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Any

from mcp.types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    AudioContent,
    CreateMessageRequestParams,
    CreateMessageResult,
    ErrorData,
    ImageContent,
    TextContent,
)

from opspawn.contracts.content import Image
from opspawn.contracts.model import Message, ModelResponse
from opspawn.contracts.policy import Considered, Verdict
from opspawn.contracts.tool import ModelAsk
from opspawn.errors import Halt, OpspawnError
from opspawn_mcp.faults import short
from opspawn_mcp.settings import SamplingConfig

Think = Callable[[ModelAsk], Awaitable[ModelResponse]]
#: Why a model stopped, in the words of the protocol.
_STOPPED = {"stop": "endTurn", "length": "maxTokens", "content_filter": "endTurn"}


class Sampler:
    """What one server has models asked; a policy of those calls besides."""

    def __init__(self, server: str, config: SamplingConfig) -> None:
        self.name = f"mcp:{server}"
        self._server = server
        self._config = config

    def decide(self, considered: Considered) -> Verdict | None:
        """Ask a human, unless the configuration allows it."""
        if self._config.policy == "allow":
            return None
        words = f"The MCP server {self._server!r} wants it; the words are the server's."
        return Verdict("ask", words, tuple(self._config.approvers), self._config.expires_s)

    async def answer(self, think: Think, params: CreateMessageRequestParams) -> CreateMessageResult | ErrorData:
        """What the server is told. Raises: Halt."""
        try:
            asked = self._asked(params)
        except ValueError as error:
            return ErrorData(code=INVALID_PARAMS, message=str(error))
        try:
            response = await think(asked)
        except Halt:
            raise
        except OpspawnError as error:
            return ErrorData(code=INTERNAL_ERROR, message=short(f"No model was asked: {error.message}"))
        text = TextContent(type="text", text=response.text)
        stopped = _STOPPED.get(response.finish_reason, "endTurn")
        model = response.source or response.model or "unknown"
        return CreateMessageResult(role="assistant", content=text, model=model, stop_reason=stopped)

    def _asked(self, params: CreateMessageRequestParams) -> ModelAsk:
        """The model call that is wanted. Raises: ValueError: it cannot be made, and why."""
        config = self._config
        if params.tools or params.tool_choice is not None:
            raise ValueError("Tools cannot be used in sampling here.")
        messages = [Message("system", params.system_prompt)] if params.system_prompt else []
        messages += [_message(one) for one in params.messages]
        size = sum(len(one.content.encode("utf-8", "replace")) for one in messages)
        if size > config.max_bytes or not params.messages:
            raise ValueError(f"The messages have {size:,} bytes; 1 to {config.max_bytes:,} are allowed.")
        if params.max_tokens < 1:
            raise ValueError(f"maxTokens is {params.max_tokens}.")
        settings: dict[str, Any] = {"max_tokens": min(params.max_tokens, config.max_tokens)}
        if params.temperature is not None:
            settings["temperature"] = params.temperature
        return ModelAsk(
            f"sampling:{self._server}",
            config.model,
            messages,
            {**settings, **config.settings},
            self,
            config.calls_per_run,
            config.tokens_per_run,
        )


def nobody(reason: str) -> ErrorData:
    """What a server is told where no run could ask a model."""
    return ErrorData(code=INVALID_REQUEST, message=f"No model can be asked: {reason}")


def _message(given: Any) -> Message:
    """A message of the server's. Raises: ValueError: it holds what no model here is shown."""
    texts, parts = [], []
    for item in given.content_as_list:
        if isinstance(item, TextContent):
            texts.append(item.text)
        elif isinstance(item, ImageContent) and given.role == "user":
            parts.append(Image(_bytes(item.data), item.mime_type))
            texts.append(f"[An image, {item.mime_type}]")
        else:
            kind = "audio" if isinstance(item, AudioContent) else getattr(item, "type", "this")
            raise ValueError(f"Messages with {kind} cannot be put to a model here.")
    return Message(given.role, "\n".join(texts), parts=tuple(parts))


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("An image is no base64.") from error
