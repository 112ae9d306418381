"""The transport of local servers: a process, one JSON message per line, within limits.

The SDK's own keeps lines of any length and starts the process unguarded; here a line has a limit, noise and floods end
the connection (see `pipes`), and a keeper ends the server with us.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mcp.client.stdio import get_default_environment

from opspawn_mcp.ending import ended
from opspawn_mcp.pipes import Inbox, Lines, Outbox

_KEEPER = Path(__file__).with_name("keeper.py")
#: How long a server may take to end once its input is closed, and once it was told to, in seconds.
_END_S, _STOP_S, _KILL_S = 2.0, 3.0, 2.0
#: How long after the end of its output or input a process may end, so that its exit code is told, in seconds.
_CODE_S = 1.0


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
async def stdio_transport(
    launch: Launch, fate: Fate, on_line: Callable[[str], None]
) -> AsyncIterator[tuple[Inbox, Outbox]]:
    """A running server and the two ends of the talk with it; at the end it is gone, with all that it started.

    Args:
        fate: is told why the connection ended, if it does.
        on_line: called with each line on its stderr.

    Raises: OSError: it cannot be started.
    """
    talk = await _started(launch, fate, on_line)
    try:
        yield talk.inbox, talk.outbox
    finally:
        fate.ours = True
        # in a task of its own, so that whoever is cancelled here does not leave the process behind
        await ended(asyncio.ensure_future(talk.end()), _END_S + _STOP_S + 2 * _KILL_S)


async def _started(launch: Launch, fate: Fate, on_line: Callable[[str], None]) -> _Talk:
    """The server and our ends of its pipes. Raises: OSError."""
    (stdin, to), (out, stdout), (err, stderr) = os.pipe(), os.pipe(), os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *_command(launch),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={**get_default_environment(), **launch.env},
            cwd=launch.cwd,
            start_new_session=True,
        )
    except BaseException:
        for file in (to, out, err):
            os.close(file)
        raise
    finally:
        for file in (stdin, stdout, stderr):
            os.close(file)
    return _Talk(process, to, out, err, fate, on_line, launch.most_bytes)


def _command(launch: Launch) -> list[str]:
    if os.name != "posix" or not sys.executable:
        return [launch.command, *launch.args]
    return [sys.executable, "-I", "-S", str(_KEEPER), str(os.getpid()), launch.command, *launch.args]


async def _gone(process: asyncio.subprocess.Process, patience_s: float) -> bool:
    """Whether it ends in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            await process.wait()
    return process.returncode is not None


class _Talk:
    """A process, our ends of its pipes, and how it ends."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        to: int,
        out: int,
        err: int,
        fate: Fate,
        on_line: Callable[[str], None],
        most_bytes: int,
    ) -> None:
        self._process = process
        self._fate = fate
        self._on_line = on_line
        self._telling: list[asyncio.Task[None]] = []
        self.outbox = Outbox(to, on_end=lambda: self._over("it closed its input"))
        self.inbox = Inbox(out, most_bytes, on_fault=self._faulty, on_end=lambda: self._over("it closed its output"))
        self._errors = Lines(err, self._hear)

    def _faulty(self, why: str) -> None:
        self._fate.because(why)
        self._fate.theirs = not self._fate.ours

    def _over(self, otherwise: str) -> None:
        """The talk has ended by the server's doing, or by ours."""
        self._fate.theirs = not self._fate.ours
        if self._fate.theirs and not self._fate.reason:
            self._telling.append(asyncio.ensure_future(self._tell(otherwise)))

    async def _tell(self, otherwise: str) -> None:
        """Say why it ended: with which code the process did, if it does so within a moment."""
        await _gone(self._process, _CODE_S)
        self._errors.read_all()
        code = self._process.returncode
        self._fate.because(otherwise if code is None else f"it ended with exit code {code}")
        self.inbox.stop()

    def _hear(self, line: str) -> None:
        self._fate.said.append(line[:500])
        self._on_line(line)

    async def end(self) -> None:
        """End the process, and close the pipes."""
        process = self._process
        self.outbox.close()
        for patience, act in ((_END_S, process.terminate), (_STOP_S, process.kill), (_KILL_S, None)):
            if await _gone(process, patience):
                break
            if act is not None:
                with contextlib.suppress(ProcessLookupError):
                    act()
        for telling in self._telling:  # it is about to say with which code the process ended
            await telling
        self._errors.read_all()
        self.inbox.close_pipe()
        self._errors.close()
        process._transport.close()  # type: ignore[attr-defined]  # else it warns, if it could not be ended
