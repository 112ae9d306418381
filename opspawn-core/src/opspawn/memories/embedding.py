"""Vectors of texts, in batches, checked; the same text is sent once in a call."""

from __future__ import annotations

from collections.abc import Sequence

from opspawn.contracts.memory import Embedder
from opspawn.errors import MemoryFailed
from opspawn.memories.ranking import unit


async def vectors_of(embedder: Embedder, texts: Sequence[str]) -> list[list[float]]:
    """One vector per text, one long.

    Raises: MemoryFailed, EmbedderMismatch: what the embedder gave cannot be used. And what it raises.
    """
    asked = list(dict.fromkeys(texts))
    made: dict[str, list[float]] = {}
    dim = embedder.dim
    for text, vector in zip(asked, await embedded(embedder, asked), strict=True):
        made[text] = unit(vector, dim, embedder.model)
        dim = dim or len(vector)
    return [made[text] for text in texts]


async def embedded(embedder: Embedder, texts: Sequence[str]) -> list[Sequence[float]]:
    """What the embedder makes of texts, in its batches, as it gives it. Raises: MemoryFailed: not one for each."""
    made: list[Sequence[float]] = []
    batch = max(1, embedder.batch)
    for start in range(0, len(texts), batch):
        some = texts[start : start + batch]
        vectors = await embedder.embed(some)
        if len(vectors) != len(some):
            raise MemoryFailed(f"The embedder {embedder.model!r} gave {len(vectors)} vectors for {len(some)} texts.")
        made += vectors
    return made
