"""What the workers of `mcp` share: a server with one small tool, over stdio and HTTP, and the clock."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

from _common import expect

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


#: Calls before the clock of a turn starts.
_WARM_UP = 20


async def in_turns(calls: Mapping[str, Callable[[int], Awaitable[object]]]) -> None:
    """Make calls, one after another, whenever it is our turn, by the way that is asked for, until there are no turns.

    `calls[way](n)` must answer with n + 1. Told are calls in a second, and what one costs this process.
    """
    number = 0
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        call = calls[asked["way"]]
        for timed in (False, True):
            began, cpu, first = time.perf_counter(), time.process_time(), number
            while (time.perf_counter() - began < asked["seconds"]) if timed else number - first < _WARM_UP:
                said = await call(number)
                expect(said == {"result": number + 1}, f"call {number} was answered with {said!r}")
                number += 1
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        made = number - first
        print(json.dumps({"per_s": made / took, "cpu_us": cpu / made * 1e6}), flush=True)


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
