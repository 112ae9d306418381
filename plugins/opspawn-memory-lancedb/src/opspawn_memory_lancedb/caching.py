"""Vectors that were made before, in a file beside the memory, by a digest of the embedder and the text.

Forgetting empties it: a vector tells much of its text, and a digest of a short text can be guessed. What does not work
is left out and said in the log; the embedder can always be asked.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import numpy as np
from loguru import logger

from opspawn.contracts.memory import Embedder
from opspawn_memory_lancedb.vectors import Vector, Vectors, units_of

T = TypeVar("T")
_NAME = "embeddings.db"
_TIMEOUT_S = 5.0
_AT_ONCE = 500
_SCHEMA = "CREATE TABLE IF NOT EXISTS made (n INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, vector BLOB NOT NULL)"


class Cache:
    """At most `most` vectors; the oldest go first. Any thread may call; each call opens the file anew."""

    def __init__(self, place: Path, most: int) -> None:
        self._path = place / _NAME
        self._most = most

    def get(self, model: str, texts: Sequence[str]) -> dict[str, Vector]:
        """The vectors of those texts that have one."""
        keys = {_key(model, text): text for text in texts}

        def work(connection: sqlite3.Connection) -> dict[str, Vector]:
            found: dict[str, Vector] = {}
            asked = list(keys)
            for start in range(0, len(asked), _AT_ONCE):
                some = asked[start : start + _AT_ONCE]
                sql = f"SELECT key, vector FROM made WHERE key IN ({', '.join('?' * len(some))})"
                found |= {keys[key]: np.frombuffer(vector, np.float32) for key, vector in connection.execute(sql, some)}
            return found

        return self._do(work, {}) if self._path.exists() else {}

    def put(self, model: str, made: dict[str, Vector]) -> None:
        """Keep vectors."""
        rows = [(_key(model, text), vector.tobytes()) for text, vector in made.items()]

        def work(connection: sqlite3.Connection) -> None:
            with connection:
                connection.executemany("INSERT OR IGNORE INTO made (key, vector) VALUES (?, ?)", rows)
                connection.execute("DELETE FROM made WHERE n <= (SELECT max(n) FROM made) - ?", (self._most,))

        self._do(work, None)

    def _do(self, work: Callable[[sqlite3.Connection], T], instead: T) -> T:
        try:
            with closing(sqlite3.connect(self._path, timeout=_TIMEOUT_S)) as connection:
                connection.execute(_SCHEMA)
                return work(connection)
        except sqlite3.Error as error:
            logger.bind(memory="lancedb").warning("Vectors made before cannot be used: {}", error)
            return instead


async def cached_units(cache: Cache, embedder: Embedder, texts: Sequence[str]) -> Vectors:
    """One vector per text, made or made before. Raises: as `units_of`."""
    found = await asyncio.to_thread(cache.get, embedder.model, texts)
    if len({len(one) for one in found.values()} | ({embedder.dim} if embedder.dim else set())) > 1:
        found = {}  # the model is now of another length
    if lacking := [text for text in dict.fromkeys(texts) if text not in found]:
        made = dict(zip(lacking, await units_of(embedder, lacking), strict=True))
        await asyncio.to_thread(cache.put, embedder.model, made)
        found |= made
    return np.stack([found[text] for text in texts])


def empty_cache(place: Path) -> None:
    """Leave nothing of the vectors that any process has kept beside the memory."""
    for end in ("", "-journal"):
        (place / f"{_NAME}{end}").unlink(missing_ok=True)


def _key(model: str, text: str) -> bytes:
    return blake2b(f"{model}\0{text}".encode(), digest_size=24).digest()
