"""The server with resources and prompts, over stdio and over HTTP, for tests."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SHELF = Path(__file__).parent / "servers" / "shelf.py"


@contextmanager
def over_http() -> Iterator[str]:
    """The server over streamable HTTP, while the block lasts; gives its URL."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(SHELF), "http", str(port)], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while True:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < until, "the server does not listen"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait()


def table(url: str | None, mode: str, **more: Any) -> dict[str, Any]:
    """Its table in the configuration: over HTTP with a URL, else over stdio."""
    where = (
        {"url": url, "allow_private": True}
        if url is not None
        else {"command": sys.executable, "args": [str(SHELF), "stdio"]}
    )
    return {**where, "mode": mode, "pin": "off", "connect_timeout_s": 60, **more}
