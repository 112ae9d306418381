"""What a model provider receives and returns, whatever the vendor's protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

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
    """One message of a conversation. `tool_calls` only on assistant messages, `tool_call_id` only on tool messages."""

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    is_error: bool = False


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
    """Tokens of one or more calls; `cached_tokens` are part of the input, `reasoning_tokens` part of the output."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    requests: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.requests + other.requests,
        )


@dataclass(frozen=True, slots=True)
class ModelResponse:
    """What the model said. With `finish_reason="length"` text and calls may be cut off."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = field(default_factory=Usage)
    finish_reason: FinishReason = "stop"
    model: str = ""
    request_id: str | None = None

    def message(self) -> Message:
        """The answer as a message, to go on with the conversation."""
        return Message("assistant", self.text, self.tool_calls)


@dataclass(frozen=True, slots=True)
class ModelDelta:
    """A piece of an answer as it streams in: `text`, `reasoning`, or the text of a `tool_call`'s arguments."""

    kind: Literal["text", "reasoning", "tool_call"]
    text: str
    tool: str | None = None


OnDelta = Callable[[ModelDelta], None]


class ModelProvider(Protocol):
    """Speaks to one vendor or server. Makes no retries of its own: the run context has the one retry layer."""

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelResponse:
        """Make one model call; with `on_delta` streamed, and the final answer returned all the same.

        Raises:
            ModelError: with `error_type` and, for `rate_limited`, `retry_after_s` as the provider said it.
        """
        ...

    async def aclose(self) -> None:
        """Close connections. Idempotent."""
        ...
