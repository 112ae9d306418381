"""The guard of one call: starts the process within the walls, watches it, and leaves nothing of it behind.

A guard runs no code of a tool. It ends the call when the worker hangs up (a timeout, a cancel, the worker's death),
when the answer or the temporary folder grows too large; then it kills whatever the tool has started, daemons included:
the tool's processes have a PID namespace of their own or, where there is none, are the guard's children once orphaned.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import tempfile
import time
from typing import Any

from opspawn.agentkit.function_tool import FunctionTool
from opspawn.agentkit.sandbox import inside, kernel, walls
from opspawn.agentkit.sandbox.folders import remove, size_of
from opspawn.agentkit.sandbox.promises import Plan
from opspawn.agentkit.sandbox.wire import framed, packed

#: How large an answer may be, in bytes.
MAX_ANSWER = 4 << 20
#: How much of what a tool prints is kept, in bytes: the end of it.
MAX_OUTPUT = 8_192
_LOOK_S = 0.25


class Guard:
    """One call over one connection to the worker."""

    def __init__(self, connection: socket.socket, request: dict[str, Any]) -> None:
        self._connection = connection
        self._request = request
        self._plan = Plan(**request["plan"])
        self._answer = bytearray()
        self._printed = {"stdout": bytearray(), "stderr": bytearray()}
        self._dropped = {"stdout": 0, "stderr": 0}
        self._why: str | None = None
        self._measured = False
        self._folder = ""

    def run(self, tool: FunctionTool[..., Any]) -> None:
        """Carry out the call and send two frames: how it ended, and the answer."""
        try:
            end = self._run(tool)
        except Exception as error:  # whatever it is, the worker waits for a word
            end = {"why": "setup", "words": f"{type(error).__name__}: {error}"}
        with contextlib.suppress(OSError):  # the worker may have gone
            self._connection.sendall(packed(end) + framed(bytes(self._answer)))

    def _run(self, tool: FunctionTool[..., Any]) -> dict[str, Any]:
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        self._folder = tempfile.mkdtemp(prefix="call-", dir=self._plan.folder)
        try:
            namespaces = walls.enter_namespaces(self._plan)
            mounted = "mount" in namespaces and walls.mount_folder(self._folder, self._plan)
            self._measured = not mounted
            end = self._watched(tool, namespaces)
            if mounted:
                kernel.unmount(self._folder)
            return end
        finally:
            remove(self._folder)

    def _watched(self, tool: FunctionTool[..., Any], namespaces: tuple[str, ...]) -> dict[str, Any]:
        pipes = {name: os.pipe() for name in ("answer", "stdout", "stderr")}
        user = walls.user_of(os.getpid())
        child = os.fork()
        if child == 0:
            self._become_the_tool(tool, user, namespaces, {name: ends[1] for name, ends in pipes.items()})
        readers = {}
        for name, (reading, writing) in pipes.items():
            os.close(writing)
            os.set_blocking(reading, False)
            readers[reading] = name
        code, used = self._watch(child, readers)
        self._sweep()
        for reading in list(readers):
            while self._read(reading, readers):
                pass
        return {
            "why": self._why,
            "signal": -code if code < 0 else None,
            "code": code if code >= 0 else None,
            "cpu_s": used,
            "output": {name: self._text(name) for name in self._printed},
        }

    def _become_the_tool(
        self, tool: FunctionTool[..., Any], user: int, namespaces: tuple[str, ...], ends: dict[str, int]
    ) -> None:
        try:
            os.setsid()
            null = os.open(os.devnull, os.O_RDONLY)
            for number, opened in enumerate((null, ends["stdout"], ends["stderr"], ends["answer"])):
                os.dup2(opened, number + 100)
            for number in range(4):
                os.dup2(number + 100, number)
            os.closerange(4, 65536)
            os.set_inheritable(3, False)
            inside.run(tool, self._request, self._plan, walls.Place(self._folder, user, namespaces), 3)
        finally:
            os._exit(70)

    def _watch(self, child: int, readers: dict[int, str]) -> tuple[int, float]:
        """Until the child has ended; its exit code, or the negative number of the signal, and its CPU time."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        for reading in readers:
            poll.register(reading, select.POLLIN)
        ended = os.pidfd_open(child)
        poll.register(ended, select.POLLIN)
        looked = time.monotonic()
        while True:
            for descriptor, _ in poll.poll(_LOOK_S * 1000 if self._measured else None):
                if descriptor == self._connection.fileno():  # the worker says nothing more: it has hung up
                    poll.unregister(descriptor)
                    self._kill(child, "the worker hung up")
                elif descriptor == ended:
                    _, status, usage = os.wait4(child, 0)
                    os.close(ended)
                    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
                elif not self._read(descriptor, readers):
                    poll.unregister(descriptor)
            if len(self._answer) > MAX_ANSWER:
                self._kill(child, f"its answer is larger than {MAX_ANSWER >> 20} MiB")
                self._answer.clear()
            if self._measured and time.monotonic() - looked > _LOOK_S:
                looked = time.monotonic()
                if size_of(self._folder) > self._plan.disk_mb << 20:
                    self._kill(child, f"its temporary folder grew over {self._plan.disk_mb} MiB")

    def _read(self, descriptor: int, readers: dict[int, str]) -> bool:
        """Take what is there; whether there may be more."""
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return False
        if not data:
            return False
        name = readers[descriptor]
        if name == "answer":
            if self._why is None:
                self._answer += data
            return True
        kept = self._printed[name]
        kept += data
        if len(kept) > MAX_OUTPUT:
            self._dropped[name] += len(kept) - MAX_OUTPUT
            del kept[:-MAX_OUTPUT]
        return True

    def _kill(self, child: int, why: str) -> None:
        self._why = self._why or why
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    def _sweep(self) -> None:
        """Kill what the tool left behind; where it had a PID namespace, the kernel did so already."""
        while True:
            for pid in _children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return

    def _text(self, name: str) -> str:
        text = self._printed[name].decode("utf-8", "replace")
        return f"… ({self._dropped[name]} bytes before) {text}" if self._dropped[name] else text


def _children() -> list[int]:
    """The pids of this process's children."""
    own, found = os.getpid(), []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{entry.name}/stat", "rb") as file:
                if int(file.read().rpartition(b")")[2].split()[1]) == own:
                    found.append(int(entry.name))
    return found
