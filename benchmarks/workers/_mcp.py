"""What the workers of `mcp` share: a server with one small tool, over stdio and HTTP, and the clock."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from _common import Settings, expect

#: Run with "stdio", or with "http" and a port.
COMMAND = [sys.executable, __file__]


@contextmanager
def http_server() -> Iterator[str]:
    """The server over streamable HTTP, in a process of its own; gives its URL."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    process = subprocess.Popen([*COMMAND, "http", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while True:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            expect(time.monotonic() < until, "the server does not listen")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait()


async def measure(settings: Settings, way: str, call: Callable[[int], Awaitable[object]]) -> dict[str, float]:
    """Calls in a second, one after another, and what one costs this process; `call(n)` must answer with n + 1."""
    seconds: float = settings.get("seconds")
    for phase in (min(0.5, seconds), seconds):
        began, cpu, calls = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - began < phase:
            said = await call(calls)
            expect(said == {"result": calls + 1}, f"call {calls} was answered with {said!r}")
            calls += 1
    cpu = time.process_time() - cpu
    return {f"{way}_per_s": calls / (time.perf_counter() - began), f"{way}_cpu_us": cpu / calls * 1e6}


def _serve() -> None:
    from mcp.server import MCPServer

    server = MCPServer("bench", log_level="ERROR")

    @server.tool()
    def next_of(number: int) -> int:
        """The next number."""
        return number + 1

    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))


if __name__ == "__main__":
    _serve()
