"""What a client shows and answers to its server: who calls, and which folders are its roots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcp.types import ListRootsResult, Root
from pydantic import FileUrl

from opspawn_mcp.auth import auth_of
from opspawn_mcp.connecting import Callbacks

if TYPE_CHECKING:
    import httpx2

    from opspawn_mcp.settings import McpConfig


def callbacks_of(config: McpConfig) -> Callable[[str], Callbacks]:
    """By the name of a server, what its settings say. Raises: ConfigError: the SDK is too old for one of them."""
    root = config.root or Path.cwd()
    signed: dict[str, httpx2.Auth] = {}
    for name, server in config.servers.items():
        if server.auth is not None and server.url is not None and server.enabled:
            signed[name] = auth_of(name, server.url, server.auth)  # one for all connections: it keeps the token

    def give(name: str) -> Callbacks:
        folders = [(root / folder).resolve() for folder in config.servers[name].roots]
        options = {"list_roots_callback": _telling(folders)} if folders else {}
        return Callbacks(options, signed.get(name))

    return give


def _telling(folders: list[Path]) -> Callable[[Any], Any]:
    async def roots(context: Any) -> ListRootsResult:
        return ListRootsResult(roots=[Root(uri=FileUrl(folder.as_uri()), name=folder.name) for folder in folders])

    return roots
