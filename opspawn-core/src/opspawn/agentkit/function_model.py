"""`FunctionModel`: a model that is a function of the request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable

from opspawn.agentkit.pieces import deltas
from opspawn.contracts.model import ModelRequest, ModelResponse, OnDelta, ToolCall, Usage

Said = str | ToolCall | Sequence[ToolCall] | ModelResponse
"""A text answers, calls call, a response is given as it is."""


class FunctionModel:
    """Answers with what a function makes of the request: a model in this process, or a stand-in for one.

    ```python
    echo = FunctionModel(lambda request: request.messages[-1].content)
    ```
    """

    def __init__(self, function: Callable[[ModelRequest], Said | Awaitable[Said]]) -> None:
        """Take the function, plain or async. What it raises is raised; a `ModelError` is retried as any provider's."""
        self._function = function

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelResponse:
        """Answer; streamed by words if `on_delta` is given."""
        said = self._function(request)
        response = response_of(await said if isawaitable(said) else said)
        if on_delta is not None:
            for piece in deltas(response):
                on_delta(piece)
        return response

    async def aclose(self) -> None:
        """Nothing to close."""


def response_of(said: Said) -> ModelResponse:
    """What was said as an answer of one request."""
    if isinstance(said, ModelResponse):
        return said
    usage = Usage(requests=1)
    if isinstance(said, str):
        return ModelResponse(said, usage=usage)
    calls = (said,) if isinstance(said, ToolCall) else tuple(said)
    return ModelResponse(tool_calls=calls, usage=usage, finish_reason="tool_calls")
