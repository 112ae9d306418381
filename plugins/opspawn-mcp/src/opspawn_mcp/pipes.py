"""The two ends of the talk with a local server, straight on its pipes: no task stands between them and the SDK.

What is sent is written at once, and what comes is parsed by whoever waits for it, so that a call takes few turns of the
event loop. A line has a limit; noise and floods end the talk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from types import TracebackType

import anyio
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter

#: Lines in a row that are no messages, after which there is no talking to it.
_MOST_NOISE = 1000
#: Messages within ten seconds that no answer can explain.
_MOST_UNASKED = 50_000
_SPAN_S = 10.0
_PIECE_BYTES = 64 * 1024
#: So many lines may wait before no more is read.
_MOST_WAITING = 64


class Pipe:
    """Our end of a pipe that is read; belongs to one event loop."""

    def __init__(self, file: int, hear: Callable[[bytes], None]) -> None:
        """Call `hear` with what comes, and with nothing at its end."""
        os.set_blocking(file, False)
        self._file: int | None = file
        self._hear = hear
        self._paused = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(file, self.read)

    def read(self) -> bool:
        """Hand on what is there; whether there was anything."""
        if self._file is None:
            return False
        try:
            data = os.read(self._file, _PIECE_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data = b""
        if not data:
            self.close()
        self._hear(data)
        return bool(data)

    def pause(self, paused: bool = True) -> None:
        """Read no more for now, or again."""
        if self._file is not None and paused is not self._paused:
            self._paused = paused
            if paused:
                self._loop.remove_reader(self._file)
            else:
                self._loop.add_reader(self._file, self.read)

    def close(self) -> None:
        """Close it. Idempotent."""
        if self._file is not None:
            self._loop.remove_reader(self._file)
            os.close(self._file)
            self._file = None


class _Stream(ABC):
    """What the SDK does with both streams."""

    async def __aenter__(self) -> _Stream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @abstractmethod
    async def aclose(self) -> None:
        """The SDK is done with it. Idempotent."""


class Inbox(_Stream):
    """The messages of a server, as the SDK reads them: an `mcp` `ReadStream`."""

    def __init__(
        self, file: int, most_bytes: int, *, on_fault: Callable[[str], None], on_end: Callable[[], None]
    ) -> None:
        """Read from a pipe.

        Args:
            most_bytes: how long a line may be.
            on_fault: told why nothing more is listened to. on_end: called at the end of the pipe.
        """
        self._most_bytes = most_bytes
        self._on_fault = on_fault
        self._on_end = on_end
        self._lines: deque[bytes] = deque()
        self._part = bytearray()
        self._over = False
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None
        self._noise = 0
        self._unasked = 0
        self._since = time.monotonic()
        self._pipe = Pipe(file, self._hear)

    def __aiter__(self) -> Inbox:
        return self

    async def __anext__(self) -> SessionMessage:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def receive(self) -> SessionMessage:
        """The next message. Raises: anyio.EndOfStream: there will be none; anyio.ClosedResourceError."""
        if self._lines:  # whoever says much must not hold up all others
            await asyncio.sleep(0)
        while True:
            while self._lines:
                if (message := self._next()) is not None:
                    return message
            if self._closed:
                raise anyio.ClosedResourceError
            if self._over:
                raise anyio.EndOfStream
            self._waiter = self._waiter or asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def stop(self) -> None:
        """Listen to nothing more. It is read and dropped: a server that is stuck in writing does not see the end."""
        self._over = True
        self._part = bytearray()
        self._pipe.pause(False)
        self._wake()

    async def aclose(self) -> None:
        """Drop what was not received, and all that comes."""
        self._closed = True
        self._lines.clear()
        self.stop()

    def close_pipe(self) -> None:
        """Close our end."""
        self._pipe.close()

    def _hear(self, data: bytes) -> None:
        if not data:
            if self._part and not self._over:
                self._lines.append(bytes(self._part))
            self.stop()
            self._on_end()
        elif not self._over:
            self._part += data
            if b"\n" in data:
                *lines, self._part = self._part.split(b"\n")
                self._lines.extend(bytes(line) for line in lines if line and len(line) <= self._most_bytes)
            else:
                lines = []
            if len(self._part) > self._most_bytes or any(len(line) > self._most_bytes for line in lines):
                self._fail(f"it sent a message of more than {self._most_bytes:,} bytes (max_message_bytes)")
            elif len(self._lines) > _MOST_WAITING:
                self._pipe.pause()
            self._wake()

    def _next(self) -> SessionMessage | None:
        line = self._lines.popleft()
        if not self._lines:
            self._pipe.pause(False)
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            self._noise += bool(line.strip())
            if self._noise > _MOST_NOISE:
                self._lines.clear()
                self._fail("it floods its output with lines that are no messages")
            return None
        self._noise = 0
        if hasattr(message, "method"):
            self._count()
        return SessionMessage(message)

    def _count(self) -> None:
        now = time.monotonic()
        if now - self._since > _SPAN_S:
            self._since, self._unasked = now, 0
        self._unasked += 1
        if self._unasked > _MOST_UNASKED:
            self._lines.clear()
            self._fail("it floods its output with messages that nobody asked for")

    def _fail(self, why: str) -> None:
        self._on_fault(why)
        self.stop()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Outbox(_Stream):
    """What is said to a server, as the SDK writes it: an `mcp` `WriteStream`."""

    def __init__(self, file: int, *, on_end: Callable[[], None]) -> None:
        """Write to a pipe; `on_end` is called when nobody reads it any more."""
        os.set_blocking(file, False)
        self._file: int | None = file
        self._on_end = on_end
        self._rest = bytearray()
        self._written: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    async def send(self, message: SessionMessage) -> None:
        """Write a message; return once the pipe has taken all of it. Raises: anyio.ClosedResourceError: it is gone."""
        if self._file is None:
            raise anyio.ClosedResourceError
        data = message.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
        if not self._rest:
            data = data[self._write(data) :]
        if data:
            self._rest += data
            if self._written is None:
                self._written = self._loop.create_future()
                self._loop.add_writer(self._file, self._go_on)
            await asyncio.shield(self._written)
        if self._file is None:
            raise anyio.BrokenResourceError

    async def aclose(self) -> None:
        """Close it: the server sees the end of its input. Idempotent."""
        self.close()

    def close(self) -> None:
        """As `aclose`, at once."""
        if self._file is not None:
            self._loop.remove_writer(self._file)
            os.close(self._file)
            self._file = None
        if self._written is not None and not self._written.done():
            self._written.set_result(None)

    def _write(self, data: bytes | bytearray) -> int:
        assert self._file is not None
        try:
            return os.write(self._file, data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self.close()
            self._on_end()
            return len(data)

    def _go_on(self) -> None:
        del self._rest[: self._write(self._rest)]
        if not self._rest and self._written is not None and self._file is not None:
            self._loop.remove_writer(self._file)
            self._written.set_result(None)
            self._written = None


class Lines:
    """The lines that a server writes on stderr; of a line without end, the beginning."""

    def __init__(self, file: int, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._held = b""
        self._pipe = Pipe(file, self._hear)

    def read_all(self) -> None:
        """Hand on what is there by now."""
        with contextlib.suppress(OSError):
            while self._pipe.read():
                pass

    def close(self) -> None:
        """Close our end."""
        self._pipe.close()

    def _hear(self, data: bytes) -> None:
        *lines, self._held = (self._held + data).split(b"\n")
        if len(self._held) > _PIECE_BYTES or not data:
            lines, self._held = [*lines, self._held[:_PIECE_BYTES]], b""
        for line in lines:
            if text := line.decode("utf-8", "replace").strip():
                self._on_line(text)
