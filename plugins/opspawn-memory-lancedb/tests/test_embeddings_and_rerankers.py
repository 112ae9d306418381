"""What stands between a memory and its models: vectors that were made before, and a reader of what was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from opspawn.contracts.memory import Embedder, MemoryItem, MemoryQuery, Selection
from opspawn.errors import ConfigError
from opspawn.testing import HashingEmbedder
from opspawn_memory_lancedb.memory import LanceMemory, open_memory
from opspawn_memory_lancedb.settings import LanceConfig

ADA = ("user:ada",)
EVERYTHING = Selection((), below=True)


class LongestFirst:
    """A reranker: the longer a text, the nearer."""

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        return [min(1.0, len(text) / 100) for text in texts]


async def opened(place: Path, embedder: Embedder | None = None, **config: object) -> LanceMemory:
    settings = LanceConfig.model_validate(config)
    return await open_memory(str(place / "memory.lance"), embedder=embedder, config=settings)


async def test_a_text_that_comes_again_is_not_sent_again(tmp_path: Path) -> None:
    """Not even by another process, for a question, or once it is kept; another model makes its own."""
    one, other = HashingEmbedder(16), HashingEmbedder(16)
    for embedder in (one, other):
        memory = await opened(tmp_path, embedder, embedding_cache=100)
        await memory.add([MemoryItem("Tea at five.", ADA), MemoryItem("Coffee at ten.", ADA)], duplicates="keep")
        [hit, *_] = await memory.search(MemoryQuery("Tea at five.", EVERYTHING, mode="vector"))
        await memory.aclose()
        assert hit.score == pytest.approx(1.0, abs=1e-5)
    third = HashingEmbedder(8)
    memory = await opened(tmp_path / "new", third, embedding_cache=100)
    await memory.add([MemoryItem("Tea at five.", ADA)])
    await memory.aclose()
    assert (one.asked, other.asked, third.asked) == (["Tea at five.", "Coffee at ten."], [], ["Tea at five."])


async def test_the_oldest_vectors_go_first(tmp_path: Path) -> None:
    embedder = HashingEmbedder(16)
    memory = await opened(tmp_path, embedder, embedding_cache=2)
    for text in ("One.", "Two.", "Six.", "Six.", "One."):
        await memory.search(MemoryQuery(text, EVERYTHING))
    await memory.aclose()
    assert embedder.asked == ["One.", "Two.", "Six.", "One."]


async def test_forgetting_leaves_no_vector_beside_the_memory(tmp_path: Path) -> None:
    memory = await opened(tmp_path, HashingEmbedder(16), embedding_cache=100)
    await memory.add([MemoryItem("Tea at five.", ADA, "tea")])
    cache = tmp_path / "memory.lance/embeddings.db"
    before = cache.exists()
    await memory.forget(Selection(ADA, ids=("tea",)))
    after = cache.exists()
    await memory.add([MemoryItem("Tea at six.", ADA)])
    await memory.aclose()
    assert (before, after) == (True, False)


async def test_a_cache_that_is_damaged_is_left_out(tmp_path: Path) -> None:
    embedder = HashingEmbedder(16)
    memory = await opened(tmp_path, embedder, embedding_cache=100)
    (tmp_path / "memory.lance/embeddings.db").write_bytes(b"no database" * 100)
    [added] = await memory.add([MemoryItem("Tea at five.", ADA)])
    await memory.aclose()
    assert (added.new, embedder.asked) == (True, ["Tea at five."])


async def test_what_the_settings_name_reads_what_was_found(tmp_path: Path) -> None:
    memory = await opened(tmp_path, reranker=f"{__name__}:LongestFirst")
    await memory.add([MemoryItem("Tea.", ADA), MemoryItem("Tea is served at five in the garden.", ADA)])
    hits = await memory.search(MemoryQuery("tea", EVERYTHING))
    await memory.aclose()
    assert [(hit.item.text[:6], hit.score) for hit in hits] == [("Tea is", 0.36), ("Tea.", 0.04)]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nothing", "module:attribute"),
        ("no_such_module:it", "no_such_module"),
        (f"{__name__}:nothing", "no method `rerank`"),
        (f"{__name__}:ADA", "no method `rerank`"),
    ],
)
async def test_a_reranker_that_is_none_is_told_in_one_line(tmp_path: Path, spec: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as told:
        await opened(tmp_path, reranker=spec)
    assert "\n" not in str(told.value)
