"""The worker's side of a template process: start it, ask it for a call's connection, replace it when it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Sequence

from opspawn.agentkit.sandbox.naming import Where
from opspawn.errors import ToolError

_BOOT = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
from opspawn.agentkit.sandbox.template import main
main(int(sys.argv[1]), sys.argv[3])
"""
#: Variables that say nothing of anybody.
_PLAIN = ("LANG", "LC_ALL", "LC_CTYPE", "TZ")
_PATIENCE_S = 2.0
_BUSY_S = 0.005


class Template:
    """Gives a connection per call; a template that has gone is started anew."""

    def __init__(self, env: Sequence[str]) -> None:
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._folder = ""
        self._unless_closed: weakref.finalize[..., Template] | None = None
        self._starting = asyncio.Lock()

    async def connect(self, where: Where, tool: str) -> socket.socket:
        """A connection to the guard of a new call. Raises: ToolError: no process can be started."""
        wanted = {
            "module": where.module,
            "qualname": where.qualname,
            "file": where.file,
            "tool": tool,
            "path": _path(),
        }
        data = json.dumps(wanted).encode()
        for _ in range(3):
            async with self._starting:
                if self._control is None:
                    await self._start()
                control = self._control
            assert control is not None
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            with theirs:
                if await _handed_over(control, data, theirs):
                    return ours
            ours.close()
            if self._control is control:
                await self._end()
        raise ToolError("No process can be started for tools: the template ends at once.")

    async def aclose(self) -> None:
        """End the template; calls under way go on until they are given up."""
        async with self._starting:
            await self._end()

    async def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {name: os.environ[name] for name in (*_PLAIN, *self._env) if name in os.environ}
        environment |= {"PATH": os.defpath, "TMPDIR": tempfile.gettempdir(), "PYTHONDONTWRITEBYTECODE": "1"}
        self._folder = await asyncio.to_thread(tempfile.mkdtemp, prefix="opspawn-sandbox-")
        command = [sys.executable, "-I", "-c", _BOOT, str(theirs.fileno()), json.dumps(_path()), self._folder]

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )

        try:
            self._process = await asyncio.to_thread(start)
        except OSError as error:
            ours.close()
            raise ToolError(f"No process can be started for tools: {error}.") from error
        finally:
            theirs.close()
        ours.setblocking(False)
        self._control = ours
        self._unless_closed = weakref.finalize(self, _abandoned, ours, self._process, self._folder)

    async def _end(self) -> None:
        control, process = self._control, self._process
        self._control = self._process = None
        if self._unless_closed is not None:
            self._unless_closed.detach()
        if control is not None:
            control.close()
        if process is not None:
            await asyncio.to_thread(_ended, process, self._folder)


def _path() -> list[str]:
    """Where modules are found; "" is the current folder, and the template has another one."""
    return [os.path.abspath(path) for path in sys.path]


async def _handed_over(control: socket.socket, data: bytes, connection: socket.socket) -> bool:
    """Send a connection to the template; False when it has gone."""
    while True:
        try:
            socket.send_fds(control, [data], [connection.fileno()])
            return True
        except BlockingIOError:  # it imports something, and a queue of calls waits
            await asyncio.sleep(_BUSY_S)
        except OSError:
            return False


def _abandoned(control: socket.socket, process: subprocess.Popen[bytes], folder: str) -> None:
    """End a template whose owner was dropped and not closed. Nobody waits for its calls any more."""
    control.close()
    process.kill()
    _ended(process, folder)


def _ended(process: subprocess.Popen[bytes], folder: str) -> None:
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
    with contextlib.suppress(OSError):  # gone already, or a call is still under way and will remove it
        os.rmdir(folder)
