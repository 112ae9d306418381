"""A network of a worker's own can be cut by the kernel, and comes back with its connections."""

from __future__ import annotations

import asyncio
import socket
from asyncio import wrap_future
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .namespaces import NotAllowed, enter, open_namespaces

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(64):
        writer.write(data)
    writer.close()


async def test_a_parted_network_keeps_its_connections_and_passes_nothing(tmp_path: Path) -> None:
    """Where no network may be made, the reason is said, and chaos goes on with proxies."""
    path = tmp_path / "server.sock"
    server = await asyncio.start_unix_server(_echo, path)
    try:
        async with server, open_namespaces(1, path) as (network,):
            with ThreadPoolExecutor(1) as inside:  # one thread lives in the network
                await wrap_future(inside.submit(enter, network.pid))
                line = await wrap_future(inside.submit(socket.create_connection, ("127.0.0.1", network.port), 10))
                with line:
                    line.sendall(b"one")
                    assert await wrap_future(inside.submit(line.recv, 64)) == b"one"
                    await network.connect(False)
                    line.sendall(b"two")
                    line.settimeout(0.3)
                    with pytest.raises(TimeoutError):
                        await wrap_future(inside.submit(line.recv, 64))
                    await network.connect(True)
                    line.settimeout(10)
                    assert await wrap_future(inside.submit(line.recv, 64)) == b"two"
    except NotAllowed as error:
        assert "needs root" in str(error)  # noqa: PT017
