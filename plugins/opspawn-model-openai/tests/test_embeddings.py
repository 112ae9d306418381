"""Vectors over real HTTP: from the scripted server, which hashes words, through the plugin's own door."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from opspawn.contracts.memory import Embedder, MemoryItem, MemoryQuery, Selection
from opspawn.errors import ModelError, PluginError
from opspawn.memories.sqlite import open_memory
from opspawn.testing.openai_server import Fail, Garbage, Say
from opspawn_model_openai import OpenAIConfig, opspawn_embedders

ADA = ("user:ada",)


@pytest.fixture
def open_embedder(stack: AsyncExitStack) -> Callable[..., Embedder]:
    def open_it(model: str = "all-minilm", **section: Any) -> Embedder:
        (record,) = opspawn_embedders()
        embedder = record.open(OpenAIConfig.model_validate(section), model)
        stack.push_async_callback(embedder.aclose)
        return embedder

    return open_it


async def test_a_memory_finds_by_vectors_of_the_server(serve: Any, open_embedder: Any) -> None:
    server = await serve(lambda request: Say(""))
    embedder = open_embedder(base_url=server.base_url)
    memory = await open_memory(":memory:", embedder=embedder)
    await memory.add([MemoryItem(text, ADA) for text in ("Ada likes green tea.", "The office has two doors.")])
    [hit, *_] = await memory.search(MemoryQuery("green tea", Selection(ADA), mode="vector"))
    stats = await memory.stats(Selection(ADA))
    await memory.aclose()

    assert hit.item.text == "Ada likes green tea."
    assert (stats.embedder, stats.dim, stats.vectors) == ("openai:all-minilm", 128, 2)
    assert [len(request["messages"]) for request in server.requests] == [2, 1]


async def test_texts_come_in_the_order_in_which_they_were_asked(serve: Any, open_embedder: Any) -> None:
    server = await serve(lambda request: Say(""))
    embedder = open_embedder(base_url=server.base_url)
    both, (one,) = await embedder.embed(["One.", "Two."]), await embedder.embed(["Two."])

    assert both[1] == one != both[0]
    assert embedder.dim == 128


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (Fail(429, retry_after=1), "rate_limited"),
        (Fail(401), "denied"),
        (Fail(503), "transient"),
        (Garbage('{"data": [{"index": 0}]}'), "permanent"),
        (Garbage(), "permanent"),
    ],
)
async def test_failures_are_those_of_a_model(serve: Any, open_embedder: Any, step: Any, kind: str) -> None:
    server = await serve(step)
    embedder = open_embedder(base_url=server.base_url, api_key="sk-very-secret-key")
    with pytest.raises(ModelError) as caught:
        await embedder.embed(["One."])

    assert caught.value.error_type == kind
    assert "secret" not in str(caught.value)


def test_the_length_of_openais_own_vectors_is_known(open_embedder: Any) -> None:
    assert open_embedder("text-embedding-3-large", api_key="sk-x").dim == 3072


def test_without_a_key_and_a_server_of_ones_own_there_are_none(open_embedder: Any) -> None:
    with pytest.raises(PluginError, match="no API key"):
        open_embedder()
