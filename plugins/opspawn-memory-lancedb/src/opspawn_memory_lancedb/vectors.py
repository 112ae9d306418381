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
#: Several, one below the other.
Vectors = npt.NDArray[np.float32]


async def units_of(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    """One vector per text. Raises: MemoryFailed, EmbedderMismatch, and what the embedder raises."""
    places = {text: n for n, text in enumerate(dict.fromkeys(texts))}
    made = _units(await embedded(embedder, list(places)), embedder.dim, embedder.model)
    return made if len(places) == len(texts) else made[[places[text] for text in texts]]


def _units(made: Sequence[Any], dim: int | None, model: str) -> Vectors:
    dim = dim or len(made[0])
    for one in made:
        if len(one) != dim:
            raise EmbedderMismatch(f"{dim} numbers", f"{model!r}, which gave one of {len(one)}")
    with np.errstate(over="ignore", invalid="ignore"):
        whole = _whole(made, dim)
        squares = np.einsum("ij,ij->i", whole, whole)
    if dim and (abs(squares - 1) < _ONE).all():
        return whole
    exact = np.asarray(made, np.float64)  # some are too long, or too short, for the squares of smaller numbers
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt((exact * exact).sum(axis=1))
    wrong = ~(np.isfinite(lengths) & (lengths > 0))
    if not dim or wrong.any():
        raise MemoryFailed(f"The embedder {model!r} gave a vector of {dim} numbers that cannot be used.")
    units: Vectors = (exact / lengths[:, None]).astype(np.float32)
    return units


def _whole(made: Sequence[Any], dim: int) -> Vectors:
    """One array, ours, whatever the embedder does with its own."""
    if all(isinstance(one, np.ndarray) for one in made):  # of many small arrays numpy takes longer to make one
        return np.concatenate(made, dtype=np.float32, casting="same_kind").reshape(-1, dim)
    return np.array(made, np.float32)
