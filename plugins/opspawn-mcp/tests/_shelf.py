"""The server with resources and prompts, over stdio and over HTTP, for tests."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from .servers import shelf

SHELF = Path(shelf.__file__)


@contextmanager
def over_http() -> Iterator[str]:
    """The server over streamable HTTP, in a thread, while the block lasts; gives its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(shelf.server.streamable_http_app(), log_config=None, timeout_graceful_shutdown=1)
    serving = uvicorn.Server(config)
    thread = threading.Thread(target=serving.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"  # who comes before it serves waits in line
    finally:
        serving.should_exit = True
        thread.join()
        listener.close()


def table(url: str | None, mode: str, **more: Any) -> dict[str, Any]:
    """Its table in the configuration: over HTTP with a URL, else over stdio."""
    where = (
        {"url": url, "allow_private": True} if url is not None else {"command": sys.executable, "args": [str(SHELF)]}
    )
    return {**where, "mode": mode, "pin": "off", "connect_timeout_s": 120, **more}
