"""A provider made through the plugin's own door, talking real HTTP to the scripted server, in both dialects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Literal

import pytest

from opspawn.contracts.model import Message, ModelDelta, ModelProvider, ModelRequest, ModelResponse
from opspawn.testing.openai_server import OpenAIServer, Script
from opspawn_model_openai import OpenAIConfig, opspawn_models

Dialect = Literal["chat", "responses"]
Open = Callable[..., ModelProvider]
Serve = Callable[..., Awaitable[OpenAIServer]]


class Asker:
    """Asks a provider, streamed or not, and keeps the deltas."""

    def __init__(self, provider: ModelProvider, *, streamed: bool) -> None:
        self.provider = provider
        self.streamed = streamed
        self.deltas: list[ModelDelta] = []

    async def __call__(self, *messages: Message, model: str = "test-model", **fields: Any) -> ModelResponse:
        request = ModelRequest(model, messages or (Message("user", "Hello?"),), **fields)
        return await self.provider.complete(request, self.deltas.append if self.streamed else None)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(params=["chat", "responses"])
def dialect(request: pytest.FixtureRequest) -> Dialect:
    value: Dialect = request.param
    return value


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def streamed(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def serve(stack: AsyncExitStack) -> Serve:
    """Start a scripted server; it stops with the test."""

    async def start(*script: Any, **options: Any) -> OpenAIServer:
        one = script[0] if len(script) == 1 and callable(script[0]) else script
        held: Script = one
        return await stack.enter_async_context(OpenAIServer(held, **options))

    return start


@pytest.fixture
def open_provider(stack: AsyncExitStack) -> Open:
    """Open a provider with the settings of a `[plugins.openai]` section; it closes with the test."""

    def open_it(**section: Any) -> ModelProvider:
        (record,) = opspawn_models()
        provider = record.open(OpenAIConfig.model_validate(section))
        stack.push_async_callback(provider.aclose)
        return provider

    return open_it


@pytest.fixture
def asker(open_provider: Open, dialect: Dialect, streamed: bool) -> Callable[..., Asker]:
    """Make an `Asker` for a server, in the dialect and manner that the test is run with."""

    def make(server: OpenAIServer, **section: Any) -> Asker:
        return Asker(open_provider(base_url=server.base_url, dialect=dialect, **section), streamed=streamed)

    return make
