"""Vectors of texts, one long, as arrays of numpy: the same text is sent once in a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from opspawn.contracts.memory import Embedder
from opspawn.errors import EmbedderMismatch, MemoryFailed
from opspawn.memories.embedding import embedded

Vector = npt.NDArray[np.float32]


async def units_of(embedder: Embedder, texts: Sequence[str]) -> list[Vector]:
    """One vector per text. Raises: MemoryFailed, EmbedderMismatch, and what the embedder raises."""
    asked = list(dict.fromkeys(texts))
    made = await embedded(embedder, asked)
    units = dict(zip(asked, _units(made, embedder.dim, embedder.model), strict=True))
    return [units[text] for text in texts]


def _units(made: Sequence[Any], dim: int | None, model: str) -> list[Vector]:
    dim = dim or len(made[0])
    for one in made:
        if len(one) != dim:
            raise EmbedderMismatch(f"{dim} numbers", f"{model!r}, which gave one of {len(one)}")
    whole = np.asarray(made, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt((whole * whole).sum(axis=1))
    wrong = ~(np.isfinite(lengths) & (lengths > 0))
    if not dim or wrong.any():
        raise MemoryFailed(f"The embedder {model!r} gave a vector of {dim} numbers that cannot be used.")
    return list((whole / lengths[:, None]).astype(np.float32))
