"""Vectors of texts, one long, as arrays of numpy: the same text is sent once in a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from opspawn.contracts.memory import Embedder
from opspawn.errors import EmbedderMismatch, MemoryFailed
from opspawn.memories.embedding import embedded

#: How far the square of a length may be from 1 for it to count as 1.
_ONE = 1e-6
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
    with np.errstate(over="ignore", invalid="ignore"):
        whole = np.asarray(made, np.float32)
        squares = np.einsum("ij,ij->i", whole, whole)
    if dim and (abs(squares - 1) < _ONE).all():
        return list(whole)
    whole = np.asarray(made, np.float64)  # some are too long, or too short, for the squares of smaller numbers
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt((whole * whole).sum(axis=1))
    wrong = ~(np.isfinite(lengths) & (lengths > 0))
    if not dim or wrong.any():
        raise MemoryFailed(f"The embedder {model!r} gave a vector of {dim} numbers that cannot be used.")
    return list((whole / lengths[:, None]).astype(np.float32))
