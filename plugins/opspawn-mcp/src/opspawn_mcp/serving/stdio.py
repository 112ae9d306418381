"""The MCP server over standard input and output, which nothing else of the process may touch meanwhile."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import anyio
from mcp.server.stdio import stdio_server

from opspawn.contracts.transport import Host
from opspawn_mcp.serving.keys import Keys
from opspawn_mcp.serving.server import McpServer
from opspawn_mcp.serving.settings import ServeConfig

_Line = str | None


class Wire:
    """The two ends of the client. Lines are read by a thread of their own, which no stop has to wait for."""

    def __init__(self, source: TextIO, sink: TextIO) -> None:
        self.source = source
        self.sink = sink
        self._lines: asyncio.Queue[_Line] = asyncio.Queue()

    def open(self) -> None:
        """Begin to read."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop,), name="mcp-stdin", daemon=True).start()

    def close(self) -> None:
        """Read no further."""
        self._lines.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[str]:
        while (line := await self._lines.get()) is not None:
            yield line

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError, OSError, ValueError):  # the loop is closed: nobody wants lines any more
            for line in self.source:
                loop.call_soon_threadsafe(self._lines.put_nowait, line)
            loop.call_soon_threadsafe(self._lines.put_nowait, None)


@contextmanager
def standard_wire() -> Iterator[Wire]:
    """Standard input and output, for the protocol alone: what else is printed goes to standard error from here on."""
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    # closefd=False: the thread that reads may be in the middle of it until the process ends.
    reading = os.fdopen(source, "r", encoding="utf-8", errors="replace", closefd=False)
    writing = os.fdopen(sink, "w", encoding="utf-8", closefd=False)
    yield Wire(reading, writing)


async def serve_stdio(host: Host, config: ServeConfig, wire: Wire, stopping: asyncio.Event) -> None:
    """Answer the client until it closes its end, or somebody says stop. Raises: NotFound: a tool is not there."""
    server = McpServer(host, config, Keys({}))
    await server.offers.check()
    wire.open()
    given: Any = wire
    try:
        async with stdio_server(given, anyio.wrap_file(wire.sink)) as (read, write):
            options = server.sdk.create_initialization_options()
            running = asyncio.ensure_future(server.sdk.run(read, write, options))
            ending = asyncio.ensure_future(stopping.wait())
            await asyncio.wait({running, ending}, return_when=asyncio.FIRST_COMPLETED)
            ending.cancel()
            server.stop()
            wire.close()
            await running
    except* (BrokenPipeError, ConnectionResetError):
        pass  # the client is gone
