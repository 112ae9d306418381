"""Who wants to know when a resource changes: for servers of the older era, which say so on their connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Hearing:
    """Those who listen to one server."""

    def __init__(self) -> None:
        self._by_uri: dict[str, list[Callable[[], None]]] = {}

    @contextmanager
    def of(self, uri: str, changed: Callable[[], None]) -> Iterator[None]:
        """Have `changed` called whenever a resource, or a part of it, has changed, while the block lasts."""
        self._by_uri.setdefault(uri, []).append(changed)
        try:
            yield
        finally:
            self._by_uri[uri].remove(changed)
            if not self._by_uri[uri]:
                del self._by_uri[uri]

    def wanted(self, uri: str) -> bool:
        """Whether anybody still wants to know of a resource."""
        return uri in self._by_uri

    def tell(self, uri: str) -> None:
        """A resource has changed."""
        for wanted, heard in self._by_uri.items():
            if uri == wanted or uri.startswith(f"{wanted.rstrip('/')}/"):
                for changed in heard:
                    changed()
