"""What the promises of a model provider stand on: scripted servers, and one way to ask."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, ClassVar, TypeVar

import pytest
import pytest_asyncio

from opspawn.contracts.model import Message, ModelDelta, ModelProvider, ModelRequest, ModelResponse, ToolSpec
from opspawn.testing.model_server import ModelServer, Step

F = TypeVar("F", bound=Callable[..., Any])
#: What a protocol may lack. Take out what yours cannot do.
CAPABILITIES = frozenset(
    {"images", "files", "tool_images", "reasoning", "output_schema", "error_events", "request_ids"}
)
SEARCH = ToolSpec(
    "search",
    "Search the handbook.",
    {
        "type": "object",
        "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}},
        "required": ["query"],
    },
)


class Asked:
    """One call and what came of it: the answer, and the pieces that streamed in (empty if it was not streamed)."""

    def __init__(self, answer: ModelResponse, deltas: list[ModelDelta]) -> None:
        self.answer = answer
        self.deltas = deltas

    def streamed(self, kind: str) -> str:
        """The pieces of one kind, joined."""
        return "".join(delta.text for delta in self.deltas if delta.kind == kind)


def needs(capability: str) -> Callable[[F], F]:
    """Mark a promise of protocols that can do this."""

    def marked(test: F) -> F:
        test.needs = capability  # type: ignore[attr-defined]
        return test

    return marked


class ModelSuite:
    """Opens servers and providers for the promises, and closes them with the test.

    Attributes:
        server: the scripted server of the protocol.
        model: the name to ask for; one that thinks and takes images, where names matter.
        capabilities: what the protocol can do, of `CAPABILITIES`.
    """

    server: ClassVar[type[ModelServer]]
    model: ClassVar[str] = "test-model"
    capabilities: ClassVar[frozenset[str]] = CAPABILITIES

    def open_model(self, base_url: str, *, timeout_s: float = 30.0, key: str = "") -> ModelProvider:
        """The provider, pointed at a server. `key` is "" for one that needs none."""
        raise NotImplementedError("Give the suite an open_model.")

    def __init_subclass__(cls, **more: Any) -> None:
        """What a protocol cannot do is no test of it."""
        super().__init_subclass__(**more)
        for name in dir(cls):
            if getattr(getattr(cls, name), "needs", None) not in (None, *cls.capabilities):
                setattr(cls, name, None)

    @pytest_asyncio.fixture(autouse=True)
    async def _stack(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as self._open:
            yield

    @pytest.fixture(params=[False, True], ids=["whole", "streamed"])
    def streamed(self, request: pytest.FixtureRequest) -> bool:
        """Whether the answer is streamed."""
        return bool(request.param)

    async def serve(self, *steps: Any) -> ModelServer:
        """Start a server with steps, or with one function; it stops with the test."""
        script = steps[0] if len(steps) == 1 and callable(steps[0]) else list(steps)
        return await self._open.enter_async_context(self.server(script))

    def opened(self, base_url: str, **options: Any) -> ModelProvider:
        """Open the provider; it closes with the test."""
        provider = self.open_model(base_url, **options)
        self._open.push_async_callback(provider.aclose)
        return provider

    async def speaking(self, steps: Sequence[Step]) -> ModelProvider:
        """A provider whose answers are these steps, in order."""
        return self.opened((await self.serve(*steps)).base_url)

    async def ask(self, provider: ModelProvider, *messages: Message, streamed: bool = False, **fields: Any) -> Asked:
        """Ask, by default "Hello?"."""
        deltas: list[ModelDelta] = []
        request = ModelRequest(fields.pop("model", self.model), messages or (Message("user", "Hello?"),), **fields)
        return Asked(await provider.complete(request, deltas.append if streamed else None), deltas)
