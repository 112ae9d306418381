"""Lists of a server, asked for page by page, within limits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from opspawn_mcp.faults import ServerFault

T = TypeVar("T")
_MOST_PAGES = 100


async def pages(
    server: str, what: str, fetch: Callable[[str | None], Awaitable[Any]], items: Callable[[Any], Sequence[T]]
) -> AsyncIterator[Sequence[T]]:
    """The pages of a list. Raises: ServerFault: it has no end; and what the SDK raises."""
    cursor: str | None = None
    seen: set[str] = set()
    for _ in range(_MOST_PAGES):
        page = await fetch(cursor)
        yield items(page)
        cursor = page.next_cursor
        if cursor is None:
            return
        if cursor in seen:
            break
        seen.add(cursor)
    raise ServerFault(server, f"its list of {what} has no end: {len(seen)} pages and more to come")


async def whole(
    server: str,
    what: str,
    fetch: Callable[[str | None], Awaitable[Any]],
    items: Callable[[Any], Sequence[T]],
    most: int,
) -> list[T]:
    """The first `most` items of a list, and perhaps one more. Raises: as `pages`."""
    found: list[T] = []
    async for page in pages(server, what, fetch, items):
        found += page
        if len(found) > most:
            return found[: most + 1]
    return found
