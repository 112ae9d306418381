"""Runs one server as a child, and sees to it that nothing of it outlives whoever started it.

A program of its own: `python -I -S keeper.py PARENT COMMAND ARG...`. The server talks to the parent directly, over the
pipes that it inherits. When the parent dies, however that happens, this one is told by the kernel (on Linux; elsewhere
it looks twice a second) and ends the server and all that the server has started, daemons included.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36
#: How long a server may take to end by itself, in seconds.
_GRACE_S = 1.5
_LOOK_S = 0.5
_LINUX = sys.platform == "linux"


class _Stop(Exception):
    """Somebody wants this to end."""


def main(parent: int, command: list[str]) -> int:
    """Run the command to its end, and leave nothing of it. Gives its exit code, or 128 + the signal that ended it."""
    signal.signal(signal.SIGTERM, _stop)
    _prctl(_SET_CHILD_SUBREAPER, 1)
    _prctl(_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return 0
    server = os.fork()
    if server == 0:
        _become(command)
    status = 0
    try:
        os.close(0)  # the pipes are the server's alone: whoever holds an end too long hides that the other is closed
        os.close(1)
        status = _wait(server, parent)
    except _Stop:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        status = _end(server)
    finally:
        _leave_nothing()
    return os.waitstatus_to_exitcode(status) % 256 if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _become(command: list[str]) -> None:
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setpgid(0, 0)
        _prctl(_SET_PDEATHSIG, signal.SIGKILL)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]} cannot be started: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _wait(server: int, parent: int) -> int:
    """The status with which the server ends. Raises: _Stop."""
    while True:
        pid, status = os.waitpid(-1, 0 if _LINUX else os.WNOHANG)
        if pid == server:
            return status
        if pid == 0:
            if os.getppid() != parent:
                raise _Stop
            time.sleep(_LOOK_S)


def _end(server: int) -> int:
    """End the server's group, kindly, then not. Gives its status."""
    _kill(-server, signal.SIGTERM)
    until = time.monotonic() + _GRACE_S
    while time.monotonic() < until:
        pid, status = os.waitpid(server, os.WNOHANG)
        if pid:
            return status
        time.sleep(0.02)
    _kill(-server, signal.SIGKILL)
    return os.waitpid(server, 0)[1]


def _leave_nothing() -> None:
    """End what the server has left behind. As a subreaper this process is the parent of all of it, sooner or later."""
    for _ in range(1000):
        children = _children()
        if not children:
            return
        for pid in children:
            _kill(pid, signal.SIGKILL)
        for pid in children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children() -> list[int]:
    try:
        return [int(pid) for pid in Path("/proc/thread-self/children").read_text().split()]
    except OSError:
        return []


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def _prctl(option: int, value: int) -> None:
    if _LINUX:
        ctypes.CDLL(None).prctl(option, int(value), 0, 0, 0)


def _stop(number: int, frame: object) -> None:
    raise _Stop


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
