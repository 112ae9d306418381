"""Starts `opspawn` and modules quickly: imports once what they import, then forks a process for each that is asked for.

Each command is a process like any other: of its own, in a session of its own, with its folder, environment and files,
and it can be signalled, killed and waited for. It is killed when whoever asked for it has gone. That a start from
nothing works is shown by the tutorials, by pages that install something, and by `test_lazy_imports`, which all start
`opspawn` as a user does; elsewhere it would take three quarters of the time.

Run as a program, this is the nursery; imported, it is how tests talk to it. `SHIM` is how everybody else does: it is,
to whoever starts it, the command.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: What commands import, as far as they do by themselves: the packages with all that is in them, and single modules.
PACKAGES = ("opspawn.cli", "opspawn.ops", "opspawn.rest", "opspawn.stores", "opspawn.wakers", "opspawn.memories")
MODULES = (
    *("opspawn.host", "opspawn.testing.scripted", "opspawn.testing.openai_server", "uvicorn", "yaml", "cel"),
    *("uvicorn.lifespan.on", "uvicorn.loops.auto", "uvicorn.protocols.http.auto", "rich.live", "rich.table"),
    *("opspawn_model_openai", "opspawn_planner_react", "opspawn_store_redis.store", "opspawn_store_redis.doorbells"),
)
_ORDER_B = 1024 * 1024
SHIM = """\
#!{python} -IS
import json, os, signal, socket, sys

keeper = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
keeper.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
keeper.connect({address!r})
order = dict(command=sys.argv, folder=os.getcwd(), env=dict(os.environ))
socket.send_fds(keeper, [json.dumps(order).encode()], [0, 1, 2])
child = int(keeper.recv(64))
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) != signal.SIG_IGN:
        signal.signal(number, lambda number, frame: os.kill(child, number))
code = int(keeper.recv(64))
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


class Forked:
    """A command of the nursery, with what tests use of `subprocess.Popen`."""

    def __init__(self, keeper: socket.socket) -> None:
        self._keeper = keeper
        self.pid = int(keeper.recv(64))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, or None while the process lives."""
        return self.returncode if self._told(0.0) else None

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once there is one. Raises: subprocess.TimeoutExpired."""
        if not self._told(timeout):
            raise subprocess.TimeoutExpired("opspawn", timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if there is still somebody to hear it."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _told(self, timeout: float | None) -> bool:
        if self.returncode is None and select.select([self._keeper], [], [], timeout)[0]:
            self.returncode = int(self._keeper.recv(64))
            self._keeper.close()
        return self.returncode is not None


class Nursery:
    """The nursery as a process, which ends with whoever started it."""

    def __init__(self, *modules: str) -> None:
        """`modules` are imported beside those that all commands import."""
        self._place = tempfile.TemporaryDirectory(prefix="opspawn-nursery-")
        self._address = str(Path(self._place.name) / "socket")
        self._process = subprocess.Popen(
            [sys.executable, __file__, self._address, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def start(
        self, command: Sequence[str], folder: Path, env: Mapping[str, str], stdin: int, stdout: int, stderr: int
    ) -> Forked:
        """Start a command. The files are the caller's to close."""
        keeper = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ORDER_B)
        keeper.connect(self._address)
        order = {"command": list(command), "folder": str(folder), "env": dict(env)}
        socket.send_fds(keeper, [json.dumps(order).encode()], [stdin, stdout, stderr])
        return Forked(keeper)

    def shim(self) -> str:
        """The text of a program that stands for `opspawn`."""
        return SHIM.format(python=sys.executable, address=self._address)

    def close(self) -> None:
        """End the nursery."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()  # not read to its end: keepers of commands that still run hold it
        self._place.cleanup()


def _preload(modules: Sequence[str]) -> None:
    for name in PACKAGES:
        package = importlib.import_module(name)
        for found in pkgutil.walk_packages(package.__path__, f"{name}."):
            importlib.import_module(found.name)
    for name in (*MODULES, *modules):
        importlib.import_module(name)
    gc.freeze()


def _serve(address: str) -> None:
    """Returns in a process that is to become a command."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers are not waited for
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listener.fileno(), 0], [], [])
            if 0 in ready:
                sys.exit(0)
            keeper, _ = listener.accept()
            if os.fork() == 0:
                break
            keeper.close()
    with keeper:
        _keep(keeper)


def _keep(keeper: socket.socket) -> None:
    """Fork the command, tell its number and how it ended. Returns in the command."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    text, files, _, _ = socket.recv_fds(keeper, _ORDER_B, 3)
    order: dict[str, Any] = json.loads(text)
    child = os.fork()
    if child:
        for file in files:
            os.close(file)
        keeper.send(str(child).encode())
        watch = os.pidfd_open(child)
        ended, _, _ = select.select([watch, keeper.fileno()], [], [])
        if watch not in ended:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        with contextlib.suppress(BrokenPipeError):
            keeper.send(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["folder"])
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(line_buffering=stream is sys.stderr or stream.isatty())
    sys.argv = order["command"]
    sys.path[0] = str(Path(sys.argv[0]).parent)


if __name__ == "__main__":
    _preload(sys.argv[2:])
    _serve(sys.argv[1])
    if sys.argv[1:2] == ["-m"]:
        module, sys.argv = sys.argv[2], sys.argv[2:]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        from opspawn.cli import main

        main()
