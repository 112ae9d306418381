"""Networks of their own for workers, so that the kernel itself can cut them off from a server: Linux, as root.

Each is a network namespace with nothing but a loopback, and on it a relay, the process of this file, to the socket of
the server in the file system. To part its workers from the server the loopback is taken down: what they send gets lost
and their connections stay open, as behind a switch that lost its power.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1  # SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP; netdevice(7)
_REQUEST = "16sH22x"  # struct ifreq: a name and flags


class NotAllowed(Exception):
    """This process may make no networks; the text says why."""


class Namespace:
    """A network with a relay to a server in it. `port`: of the relay, on 127.0.0.1 inside. `pid`: for `enter`."""

    def __init__(self, relay: Process, port: int) -> None:
        self._relay = relay
        self.port = port
        self.pid = relay.pid
        self._turn = asyncio.Lock()

    async def connect(self, up: bool) -> None:
        """Take the loopback up or down; returns when it is, and is done even if the caller is cancelled."""
        await asyncio.shield(self._connect(up))

    async def _connect(self, up: bool) -> None:
        assert self._relay.stdin is not None
        assert self._relay.stdout is not None
        async with self._turn:
            self._relay.stdin.write(b"1\n" if up else b"0\n")
            await self._relay.stdout.readline()


@asynccontextmanager
async def open_namespaces(count: int, server: Path) -> AsyncIterator[list[Namespace]]:
    """So many networks, each with a relay to the server's socket.

    Raises:
        NotAllowed: this process may not make them.
    """
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(_open(server)) for _ in range(count)]


@asynccontextmanager
async def _open(server: Path) -> AsyncIterator[Namespace]:
    relay = await asyncio.create_subprocess_exec(
        sys.executable, __file__, str(server), stdin=PIPE, stdout=PIPE, start_new_session=True
    )
    assert relay.stdin is not None
    assert relay.stdout is not None
    try:
        told = (await relay.stdout.readline()).decode().strip()
        if not told.isdigit():
            raise NotAllowed(told or f"the relay of a network ended with {await relay.wait()}")
        yield Namespace(relay, int(told))
    finally:
        relay.stdin.close()
        await relay.wait()


def enter(pid: int) -> None:
    """Move the calling thread into the network of a process. Raises: OSError: it may not, or there is no process."""
    with Path(f"/proc/{pid}/ns/net").open("rb") as network:
        _call("setns", network.fileno(), _NEW_NETWORK)


def _call(function: str, *arguments: int) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{function}: {os.strerror(ctypes.get_errno())}")


# --- the process of a relay -----------------------------------------------------------------------------------------


def _set_loopback(up: bool) -> None:
    with socket.socket() as one:
        _, flags = struct.unpack(_REQUEST, fcntl.ioctl(one, _GET_FLAGS, struct.pack(_REQUEST, b"lo", 0)))
        flags = flags | _UP if up else flags & ~_UP
        fcntl.ioctl(one, _SET_FLAGS, struct.pack(_REQUEST, b"lo", flags))


async def _relay(server: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):  # the server is down, or the worker is gone
            there, back = await asyncio.open_unix_connection(server)
            ways = [asyncio.ensure_future(_pass(reader, back)), asyncio.ensure_future(_pass(there, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            back.close()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(listening.sockets[0].getsockname()[1], flush=True)
    while order := await asyncio.to_thread(sys.stdin.readline):
        _set_loopback(order == "1\n")
        print("done", flush=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


if __name__ == "__main__":
    try:
        _call("unshare", _NEW_NETWORK)
        _set_loopback(True)
    except OSError as error:
        print(f"a network of its own needs root here ({error})")
        sys.exit(1)
    asyncio.run(_relay(sys.argv[1]))
