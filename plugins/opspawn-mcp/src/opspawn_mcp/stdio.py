"""The transport of local servers: a process, one JSON message per line, within limits.

The SDK's own keeps lines of any length and starts the process unguarded; here a line has a limit, noise and floods end
the connection, and a keeper ends the server with us.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter

from opspawn_mcp.ending import ended

_KEEPER = Path(__file__).with_name("keeper.py")
#: How long a server may take to end once its input is closed, and once it was told to, in seconds.
_END_S, _STOP_S, _KILL_S = 2.0, 3.0, 2.0
_LOOK_S = 0.01
#: Lines in a row that are no messages, after which there is no talking to it.
_MOST_NOISE = 1000
#: Messages within ten seconds that no answer can explain.
_MOST_UNASKED = 50_000
_SPAN_S = 10.0
_LINE_BYTES = 64 * 1024

Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]


@dataclass
class Fate:
    """What became of a connection, in words; `said` are the last lines on stderr, `status` the last error of HTTP."""

    reason: str = ""
    said: deque[str] = field(default_factory=lambda: deque(maxlen=5))
    known: asyncio.Event = field(default_factory=asyncio.Event)
    status: str = ""
    ours: bool = False
    theirs: bool = False

    def because(self, reason: str) -> None:
        """Note why it ended; the first reason counts, and none once we end it ourselves."""
        if self.theirs or not self.ours:
            self.reason = self.reason or reason
            self.known.set()


@dataclass(frozen=True)
class Launch:
    """How to start a server."""

    command: str
    args: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    most_bytes: int


@asynccontextmanager
async def stdio_transport(launch: Launch, fate: Fate, on_line: Callable[[str], None]) -> AsyncIterator[Streams]:
    """A running server and the two ends of the talk with it; at the end it is gone, with all that it started.

    Args:
        fate: is told why the connection ended, if it does.
        on_line: called with each line on its stderr.

    Raises: OSError: it cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        *_command(launch),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**get_default_environment(), **launch.env},
        cwd=launch.cwd,
        limit=launch.most_bytes,
        start_new_session=True,
    )
    inward, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, outward = anyio.create_memory_object_stream[SessionMessage](0)
    talk = _Talk(process, inward, outward, fate, launch.most_bytes)
    tasks = [asyncio.create_task(one) for one in (talk.read(), talk.write(), talk.listen(on_line))]
    try:
        yield read, write
    finally:
        fate.ours = True
        await _close(process, tasks, fate)
        for stream in (read, write, inward, outward):
            stream.close()


def _command(launch: Launch) -> list[str]:
    if os.name != "posix" or not sys.executable:
        return [launch.command, *launch.args]
    return [sys.executable, "-I", "-S", str(_KEEPER), str(os.getpid()), launch.command, *launch.args]


async def _close(process: asyncio.subprocess.Process, tasks: Sequence[asyncio.Task[None]], fate: Fate) -> None:
    """End the process, in a task of its own so that whoever is cancelled here does not leave it behind."""
    reading, writing, listening = tasks
    writing.cancel()

    async def end() -> None:
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        for patience, act in ((_END_S, process.terminate), (_STOP_S, process.kill), (_KILL_S, None)):
            if await _gone(process, patience):
                break
            if act is not None:
                with contextlib.suppress(ProcessLookupError):
                    act()
        if fate.theirs and not reading.done():  # it is about to say with which code the process ended
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(fate.known.wait(), _END_S)
        for task in (reading, listening):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        process._transport.close()  # type: ignore[attr-defined]  # else it warns, if somebody still holds the pipes

    await ended(asyncio.ensure_future(end()), _END_S + _STOP_S + 2 * _KILL_S)


async def _gone(process: asyncio.subprocess.Process, patience_s: float) -> bool:
    """Whether it ends in time. `Process.wait` would wait for its pipes too, which others may hold."""
    until = time.monotonic() + patience_s
    while process.returncode is None and time.monotonic() < until:  # noqa: ASYNC110  # no event tells it
        await asyncio.sleep(_LOOK_S)
    return process.returncode is not None


class _Talk:
    def __init__(
        self,
        process: asyncio.subprocess.Process,
        inward: MemoryObjectSendStream[SessionMessage | Exception],
        outward: MemoryObjectReceiveStream[SessionMessage],
        fate: Fate,
        most_bytes: int,
    ) -> None:
        self._process = process
        self._inward = inward
        self._outward = outward
        self._fate = fate
        self._most_bytes = most_bytes
        self._noise = 0
        self._unasked = 0
        self._since = time.monotonic()

    async def read(self) -> None:
        """Hand on what the server says, until it ends, or says too much. What follows is read and dropped."""
        stdout = self._process.stdout
        assert stdout is not None
        async with self._inward:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                while line := await self._line(stdout):
                    if (message := self._message(line)) is not None:
                        await self._inward.send(message)
                    elif self._noise > _MOST_NOISE:
                        self._fate.because("it floods its output with lines that are no messages")
                        break
                    if self._unasked > _MOST_UNASKED:
                        self._fate.because("it floods its output with messages that nobody asked for")
                        break
            self._fate.theirs = not self._fate.ours
        if self._fate.theirs and not self._fate.reason:
            await self._is_over("it closed its output")
        while await stdout.read(_LINE_BYTES):  # a server that is stuck in writing does not see that its input is closed
            pass

    async def _line(self, stdout: asyncio.StreamReader) -> bytes:
        try:
            return await stdout.readline()
        except ValueError:
            self._fate.because(f"it sent a message of more than {self._most_bytes:,} bytes (max_message_bytes)")
            return b""

    def _message(self, line: bytes) -> SessionMessage | None:
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            self._noise += bool(line.strip())
            return None
        self._noise = 0
        if hasattr(message, "method"):
            now = time.monotonic()
            if now - self._since > _SPAN_S:
                self._since, self._unasked = now, 0
            self._unasked += 1
        return SessionMessage(message)

    async def write(self) -> None:
        """Hand on what we say."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            async with self._outward:
                async for message in self._outward:
                    text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                    stdin.write(text.encode() + b"\n")
                    await stdin.drain()
        except (OSError, anyio.ClosedResourceError):
            await self._is_over("it closed its input")
            await self._inward.aclose()

    async def _is_over(self, otherwise: str) -> None:
        """Say that the talk has ended: with which code the process did, if it does so within a moment."""
        await _gone(self._process, 1.0)
        code = self._process.returncode
        self._fate.because(otherwise if code is None else f"it ended with exit code {code}")

    async def listen(self, on_line: Callable[[str], None]) -> None:
        """Hand on what it says on stderr; of a line without end, the beginning."""
        stderr = self._process.stderr
        assert stderr is not None
        held = b""
        while piece := await stderr.read(_LINE_BYTES):
            *lines, held = (held + piece).split(b"\n")
            if len(held) > _LINE_BYTES:
                lines, held = [*lines, held[:_LINE_BYTES]], b""
            for line in [*lines]:
                self._tell(line, on_line)
        self._tell(held, on_line)

    def _tell(self, line: bytes, on_line: Callable[[str], None]) -> None:
        if text := line.decode("utf-8", "replace").strip():
            self._fate.said.append(text[:500])
            on_line(text)
