"""What a model provider receives and returns, whatever the vendor's protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, Protocol, runtime_checkable

from opspawn.contracts.content import Called, File, Image, Part, Reasoning, Text

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "tool_calls", "length", "content_filter"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to call a tool.

    `malformed` holds the text that the model sent for the arguments when it was not a JSON object; `arguments` is then
    empty, and `RunContext.act` answers the model with what is wrong instead of calling the tool.
    """

    id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    malformed: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation. `tool_calls` only on assistant messages, `tool_call_id` only on tool messages.

    `content` is the text, and for a plain message all there is: `Message("user", "hi")`. With images, files or
    reasoning `parts` is the whole in order, and `content` its text; each is made from the other where it is left out,
    so `Message("user", "What is this?", parts=(image,))` asks first and shows then. `source` is the model that said it,
    as "PROVIDER:MODEL", where that is known. A `pinned` message stays in a conversation that grows too long.
    """

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    is_error: bool = False
    parts: tuple[Part, ...] = ()
    source: str = ""
    pinned: bool = False

    def __post_init__(self) -> None:
        if self.parts:
            texts = [part.text for part in self.parts if isinstance(part, Text)]
            if texts:
                object.__setattr__(self, "content", "".join(texts))
            elif self.content:
                object.__setattr__(self, "parts", (Text(self.content), *self.parts))


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model sees it; `parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One call. `model` is the provider's own name of the model, without the prefix that chose the provider.

    `output_schema` is a JSON Schema that the answer's text must fit; `settings` are the provider's (temperature,
    max_tokens, ...), passed through.
    """

    model: str
    messages: Sequence[Message]
    tools: Sequence[ToolSpec] = ()
    output_schema: dict[str, Any] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or more calls, counted alike for every vendor.

    `cached_tokens` (read from a cache) and `cache_write_tokens` are part of the input, `reasoning_tokens` part of the
    output. `cost` is in US dollars, and None unless the price of every call in it is known.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    requests: int = 0
    cache_write_tokens: int = 0
    cost: Decimal | None = None

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.requests + other.requests,
            self.cache_write_tokens + other.cache_write_tokens,
            self._cost_with(other),
        )

    def _cost_with(self, other: Usage) -> Decimal | None:
        """The cost of both: nothing used costs nothing, something of unknown price makes the whole unknown."""
        if self.cost is not None and other.cost is not None:
            return self.cost + other.cost
        if not (self.requests or self.input_tokens or self.output_tokens):
            return other.cost
        if not (other.requests or other.input_tokens or other.output_tokens):
            return self.cost
        return None


@dataclass(frozen=True, slots=True)
class ModelResponse:
    """What the model said. With `finish_reason="length"` text and calls may be cut off.

    `parts` is empty for a plain answer; with reasoning it is the whole answer in order: `Reasoning`, `Text`, and
    `Called` for each call. `model` is the name that the server gives itself; `source` the model that was asked, as
    "PROVIDER:MODEL", set by whoever knows it.
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = field(default_factory=Usage)
    finish_reason: FinishReason = "stop"
    model: str = ""
    request_id: str | None = None
    parts: tuple[Part, ...] = ()
    source: str = ""

    def message(self) -> Message:
        """The answer as a message, to go on with the conversation."""
        return Message("assistant", self.text, self.tool_calls, None, False, self.parts, self.source)


@dataclass(frozen=True, slots=True)
class ModelDelta:
    """A piece of an answer as it streams in: `text`, `reasoning`, or the text of a `tool_call`'s arguments.

    `restart` makes all pieces before it void: the call failed on its way and begins anew, perhaps with another model.
    """

    kind: Literal["text", "reasoning", "tool_call", "restart"]
    text: str
    tool: str | None = None


OnDelta = Callable[[ModelDelta], None]


class ModelProvider(Protocol):
    """Speaks to one vendor or server. Makes no retries of its own: the run context has the one retry layer.

    May also offer `capabilities` (see `DescribesModels`) and `count_tokens` (see `CountsTokens`).
    """

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelResponse:
        """Make one model call; with `on_delta` streamed, and the final answer returned all the same.

        Cancelling the call closes its connection. Reasoning of another vendor or model in the conversation is left out.

        Raises:
            ModelError: with `error_type` and, for `rate_limited`, `retry_after_s` as the provider said it.
        """
        ...

    async def aclose(self) -> None:
        """Close connections. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class ModelCapabilities:
    """What a model can do; None where nobody knows, as with a server of one's own.

    Attributes:
        tools, parallel_tools: it calls tools; several in one answer.
        output_schema: the vendor holds the answer to a JSON Schema itself.
        images, files: it reads images; documents such as PDF.
        reasoning: it thinks before it answers, and the provider keeps that in the conversation.
        streaming: answers come in pieces.
        count_tokens: the provider counts the tokens of a request (`CountsTokens`).
        context_tokens, max_output_tokens: the most tokens of a whole conversation, and of one answer.
        prices: the vendor whose list of prices counts, e.g. "openai"; None where nobody's does.
    """

    tools: bool | None = None
    parallel_tools: bool | None = None
    output_schema: bool | None = None
    images: bool | None = None
    files: bool | None = None
    reasoning: bool | None = None
    streaming: bool | None = None
    count_tokens: bool = False
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    prices: str | None = None


@runtime_checkable
class DescribesModels(Protocol):
    """A provider that knows what its models can do."""

    def capabilities(self, model: str) -> ModelCapabilities:
        """What `model` can do, without asking the server."""
        ...


@runtime_checkable
class CountsTokens(Protocol):
    """A provider whose vendor counts the tokens of a request for free."""

    async def count_tokens(self, request: ModelRequest) -> int:
        """The tokens of the input. Raises: ModelError."""
        ...


__all__ = [
    "Called",
    "CountsTokens",
    "DescribesModels",
    "File",
    "FinishReason",
    "Image",
    "Message",
    "ModelCapabilities",
    "ModelDelta",
    "ModelProvider",
    "ModelRequest",
    "ModelResponse",
    "OnDelta",
    "Part",
    "Reasoning",
    "Role",
    "Text",
    "ToolCall",
    "ToolSpec",
    "Usage",
]
