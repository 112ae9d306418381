"""`ScriptedModel`: a model provider that says what a test wrote down."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from opspawn.agentkit.function_model import Said, response_of
from opspawn.agentkit.pieces import deltas
from opspawn.contracts.model import ModelRequest, ModelResponse, OnDelta

Step = Said | Exception
"""A text answers, calls call, a response is given as it is, an exception is raised."""


class ScriptEnded(AssertionError):
    """A scripted model was asked more often than its script has steps."""


class ScriptedModel:
    """Answers model calls from a script, in order; or from a function of the request.

    ```python
    model = ScriptedModel([ToolCall("1", "search", {"query": "token"}), "Reset it in the settings."])
    result = await Agent("helper", model=model, tools=[search]).run("How do I reset a token?")
    assert "settings" in model.requests[1].messages[-1].content
    ```

    Attributes:
        requests: every request so far, in order, those answered with an exception included.
        closed: whether `aclose` was called.
    """

    def __init__(self, script: Sequence[Step] | Callable[[ModelRequest], Step]) -> None:
        self._script = script if callable(script) else list(script)
        self.requests: list[ModelRequest] = []
        self.closed = False

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelResponse:
        """Answer with the next step, streamed by words if `on_delta` is given. Raises: ScriptEnded, or the step."""
        self.requests.append(request)
        step = self._next(request)
        if isinstance(step, Exception):
            raise step
        response = response_of(step)
        if on_delta is not None:
            for piece in deltas(response):
                on_delta(piece)
        return response

    async def aclose(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    def _next(self, request: ModelRequest) -> Step:
        if callable(self._script):
            return self._script(request)
        asked = len(self.requests)
        if asked > len(self._script):
            last = request.messages[-1].content if request.messages else ""
            raise ScriptEnded(f"The script has {len(self._script)} steps, and call {asked} came, with: {last[:200]!r}")
        return self._script[asked - 1]
