"""`HashingEmbedder`: real vectors without a model, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from opspawn.memories.words import words


class HashingEmbedder:
    """Makes vectors of words and of the pieces of them, by hashing: texts with words in common point the same way.

    The same in every process. It knows no meaning: "car" and "automobile" have nothing in common.

    Attributes:
        asked: every text so far, in order. fails: raised by each call, if set.
    """

    def __init__(self, dim: int = 128, *, model: str = "hashing:words", batch: int = 32) -> None:
        self.model = model
        self.dim: int | None = dim
        self.batch = batch
        self.asked: list[str] = []
        self.fails: Exception | None = None
        self.closed = False
        self._dim = dim

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        if self.fails is not None:
            raise self.fails
        self.asked += texts
        return [self.vector(text) for text in texts]

    async def aclose(self) -> None:
        self.closed = True

    def vector(self, text: str) -> list[float]:
        """The vector of one text."""
        vector = [0.0] * self._dim
        found = words(text)
        for word in found or [text]:
            for piece in (word, *(f"{word[n : n + 3]}…" for n in range(len(word) - 2))):
                digest = blake2b(piece.encode("utf-8", "surrogatepass"), digest_size=8).digest()
                place = int.from_bytes(digest[:4], "big") % self._dim
                vector[place] += (1.0 if piece == word else 0.3) * (1 if digest[4] % 2 else -1)
        if not any(vector):
            vector[0] = 1.0
        return vector
