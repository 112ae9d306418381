"""Between a client and a server, for tests: cuts connections after a command and before its reply, delays, is silent.

async with Proxy(server.port) as proxy:
    store = await open_redis(RedisConfig(url=proxy.url))
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from types import TracebackType


class Proxy:
    """Listens on `url`, and passes everything on to `port` of this machine, but as told.

    Attributes:
        delay_s, jitter_s: how long each reply is held up, and by how much more at most, by chance.
        cut_chance: of each reply to a function, that its connection is closed instead. silent: whether nothing passes,
            with connections left open. cut: how many replies were lost. clients: how many connections there are.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._cut_next = False
        self.delay_s = 0.0
        self.jitter_s = 0.0
        self.cut_chance = 0.0
        self.silent = False
        self.cut = 0
        self.url = ""

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.close()
        await asyncio.sleep(0)
        await self._server.wait_closed()

    @property
    def clients(self) -> int:
        """How many connections there are now."""
        return len(self._writers) // 2

    def lead_to(self, port: int) -> None:
        """Pass on to another server from now on; connections to the one before are closed."""
        self._port = port
        for writer in list(self._writers):
            writer.close()

    def cut_next_reply(self) -> None:
        """Close the connection that gets the next reply to a function, instead of passing it on."""
        self._cut_next = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:  # the server is down
            writer.close()
            return
        self._writers |= {writer, back}
        asked = [b""]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, back, asked, False))
                group.create_task(self._pass(there, writer, asked, True))
        except* (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._writers -= {writer, back}
            for one in (writer, back):
                one.close()
                with suppress(ConnectionError):
                    await one.wait_closed()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[bytes], replies: bool
    ) -> None:
        while data := await reader.read(1 << 16):
            if not replies:
                asked[0] = data[:32]
            elif b"FCALL" in asked[0] and (self._cut_next or random.random() < self.cut_chance):
                self._cut_next = False
                self.cut += 1
                break
            if replies and self.delay_s + self.jitter_s:
                await asyncio.sleep(self.delay_s + random.uniform(0.0, self.jitter_s))
            while self.silent:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError
