"""Vectors of texts, in batches, checked; the same text is sent once in a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from opspawn.contracts.memory import Embedder
from opspawn.errors import MemoryFailed
from opspawn.memories.ranking import unit

#: How long an embedder may take, in seconds, and for each text that it is given: it may have to load its weights.
_PATIENCE_S, _EACH_S = 60.0, 2.0


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
    """What the embedder makes of texts, in its batches, as it gives it.

    Raises: MemoryFailed: not one for each, or not in time. And what the embedder raises.
    """
    made: list[Sequence[float]] = []
    batch = max(1, embedder.batch)
    for start in range(0, len(texts), batch):
        some = texts[start : start + batch]
        async with in_time(embedder, _PATIENCE_S + _EACH_S * len(some)):
            vectors = await embedder.embed(some)
        if len(vectors) != len(some):
            raise MemoryFailed(f"The embedder {embedder.model!r} gave {len(vectors)} vectors for {len(some)} texts.")
        if any(len(vector) == 0 for vector in vectors):
            raise MemoryFailed(
                f"The embedder {embedder.model!r} gave an empty vector.", remedy="Is its model one for embeddings?"
            )
        made += vectors
    return made


@asynccontextmanager
async def in_time(embedder: Embedder, seconds: float) -> AsyncIterator[None]:
    """Bounds what the embedder is asked within. Raises: MemoryFailed: it took longer."""
    try:
        async with asyncio.timeout(seconds) as timer:
            yield
    except TimeoutError as error:
        if not timer.expired():
            raise
        raise MemoryFailed(
            f"The embedder {embedder.model!r} has not answered within {seconds:g} s.",
            remedy="See that its server answers, and try again.",
        ) from error
