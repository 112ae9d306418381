"""What every memory asks of its callers alike, and how it decides by what to search."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from loguru import logger

from opspawn.contracts.memory import MAX_ITEMS, Embedder, MemoryItem, MemoryQuery
from opspawn.errors import EmbedderMismatch, InvalidInput, MemoryFailed, StepError
from opspawn.memories.embedding import in_time

V = TypeVar("V")
#: How long after its time an item stays in the files at least, in seconds, unless somebody forgets or compacts: whoever
#: has found it just before may be about to refresh it.
GRACE_S = 60.0
#: How long an embedder may take for a query, in seconds: less than a run waits for its memory, and than a person does.
QUERY_S = 15.0
_LAST = (1 << 63) - 1


def check_added(items: Sequence[MemoryItem], duplicates: str) -> None:
    """Raises: InvalidInput: too many at once, or no such way with duplicates."""
    if len(items) > MAX_ITEMS:
        raise InvalidInput(f"{len(items)} items are too many at once; {MAX_ITEMS} are the most.")
    if duplicates not in ("merge", "keep"):
        raise InvalidInput(f"duplicates is {duplicates!r}; merge or keep is meant.")


def check_limit(limit: int) -> None:
    """Raises: InvalidInput: a page cannot have so many."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_ITEMS:
        raise InvalidInput(f"limit is {limit!r}; a whole number from 1 to {MAX_ITEMS} is meant.")


def position_of(cursor: str | None) -> int | None:
    """The number that a cursor stands for. Raises: InvalidInput: it is none."""
    if cursor is None:
        return None
    if isinstance(cursor, str) and cursor.isascii() and cursor.isdigit() and len(cursor) < 20:
        position = int(cursor)
        if position <= _LAST:
            return position
    raise InvalidInput(f"{cursor!r:.60} is no cursor of this memory.")


def other_layout(there: int | str, known: int | str, package: str) -> str:
    """What helps where a memory was written by another version: to upgrade, if that was a later one."""
    if str(there).isdigit() and int(there) > int(known):
        return f"Upgrade {package}: a later version wrote it."
    return f"Export it with the version of {package} that wrote it, and import it with this one."


async def way_of(
    query: MemoryQuery, embedder: Embedder | None, vectors: Callable[[Embedder, Sequence[str]], Awaitable[Sequence[V]]]
) -> tuple[str, V | None]:
    """How to search, "text", "vector" or "hybrid", and with which vector.

    An embedder that fails, or takes long, leaves the words, unless the query wants vectors alone.

    Raises: InvalidInput: the query needs an embedder, and there is none. EmbedderMismatch. What the embedder raises.
    """
    if query.mode == "text" or (query.mode == "auto" and embedder is None):
        return "text", None
    if embedder is None:
        raise InvalidInput(
            f"This memory has no embedder, so mode={query.mode!r} finds nothing.",
            remedy='Set embedder = "NAME:MODEL" in opspawn.toml, or search by words.',
        )
    try:
        async with in_time(embedder, QUERY_S):
            [vector] = await vectors(embedder, [query.text])
    except (StepError, MemoryFailed) as error:
        if query.mode == "vector" or isinstance(error, EmbedderMismatch):
            raise
        logger.bind(embedder=embedder.model).warning("Searching by words alone, since {}", error)
        return "text", None
    return "vector" if query.mode == "vector" else "hybrid", vector
