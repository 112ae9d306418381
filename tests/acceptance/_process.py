"""What acceptance tests start, in processes of their own: `opspawn` as a user does, and a scripted model server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from .._nursery import Forked, Nursery

T = TypeVar("T")

OPSPAWN = str(Path(sys.executable).with_name("opspawn"))
#: How long anything may take that is not itself the matter of a test, in seconds; generous, for slow machines.
PATIENCE_S = 30.0
_ENDED = ("succeeded", "failed", "cancelled", "paused", "in_doubt")


def wait_for(look: Callable[[], T], what: str, timeout_s: float = PATIENCE_S) -> T:
    """What `look` returns once that is true. Raises: AssertionError, which names `what` was waited for."""
    deadline, pause_s = time.monotonic() + timeout_s, 0.01
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain for {what}"
        time.sleep(pause_s)
        pause_s = min(1.2 * pause_s, 0.05)  # a look is often a request, which takes work from what is waited for
    return found


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a file of JSON lines; none if there is no such file yet."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def opspawn(
    *arguments: str, folder: Path, env: Mapping[str, str] | None = None, timeout_s: float = PATIENCE_S
) -> subprocess.CompletedProcess[str]:
    """Run one `opspawn` command in a folder to its end."""
    command, variables = [OPSPAWN, *arguments], {**os.environ, **(env or {})}
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        process = start(command, folder, variables, stdout.fileno(), stderr.fileno())
        try:
            code = process.wait(timeout_s)
        except BaseException:
            process.send_signal(signal.SIGKILL)
            process.wait()
            raise
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(command, code, stdout.read(), stderr.read())


def start(
    command: Sequence[str], folder: Path, env: Mapping[str, str], stdout: int, stderr: int
) -> subprocess.Popen[bytes] | Forked:
    """Start a process in a session of its own; `opspawn` and modules by the nursery, if its Python is ours."""
    changed = {name for name in env.keys() | os.environ.keys() if env.get(name) != os.environ.get(name)}
    known = command[0] == OPSPAWN or command[:2] == [sys.executable, "-m"]
    if known and not any(name.startswith("PYTHON") for name in changed):
        with Path(os.devnull).open("rb") as nothing:
            return nursery().start(command, folder, env, nothing.fileno(), stdout, stderr)
    return subprocess.Popen(
        command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
    )


@cache
def nursery() -> Nursery:
    """The one of this process; `conftest` closes it."""
    return Nursery()


class Process:
    """A process in a group of its own, whose output is read as it comes; leaving the block kills the group."""

    def __init__(self, command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.started = time.monotonic()
        self.lines: list[str] = []
        reading, writing = os.pipe()
        self._read_end = os.fdopen(reading, encoding="utf-8")
        try:
            self._process = start(command, folder, {**os.environ, **(env or {})}, writing, writing)
        finally:
            os.close(writing)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def output(self) -> str:
        """Stdout and stderr so far."""
        return "".join(self.lines)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def line(self, part: str) -> str:
        """Wait for a line that holds `part`."""

        def look() -> str | None:
            found = next((line for line in self.lines if part in line), None)
            assert found or self.alive or self._reader.is_alive(), f"the process ended:\n{self.output}"
            return found

        return wait_for(look, f"the line {part!r} in\n{self.output}") or ""

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process itself."""
        self._process.send_signal(number)

    def ended(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for the end and return the exit code."""
        code = self._process.wait(timeout_s)
        self._reader.join(timeout_s)
        return code

    def kill(self) -> None:
        """SIGKILL to the whole group, as `kill -9` does; returns when it is gone. Idempotent."""
        if self.alive:
            os.killpg(self._process.pid, signal.SIGKILL)
        self.ended()
        self._read_end.close()

    def _read(self) -> None:
        for line in self._read_end:
            self.lines.append(line)


class Serve(Process):
    """`opspawn serve` on a free port, ready when the constructor returns."""

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None, *arguments: str) -> None:
        super().__init__([OPSPAWN, "serve", "--port", "0", *arguments], folder, env)
        self._client = httpx2.Client(timeout=PATIENCE_S, trust_env=False, verify=False)
        try:
            self.url = self.line("listens on").partition("listens on ")[2].split()[0]
            wait_for(self._healthy, "an answer of /healthz")
        except BaseException:
            self.kill()
            raise
        self.ready = time.monotonic()

    def __enter__(self) -> Serve:
        return self

    def kill(self) -> None:
        self._client.close()
        super().kill()

    def request(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        """One request; whatever its status, the answer."""
        return self._client.request(method, f"{self.url}{path}", json=body)

    def get(self, path: str) -> Any:
        """The JSON of a GET that must succeed."""
        response = self.request("GET", path)
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str, body: Any) -> Any:
        """The JSON of a POST that must succeed."""
        response = self.request("POST", path, body)
        assert response.status_code in (200, 202), response.text
        return response.json()

    def task(self, id: str) -> dict[str, Any]:
        """A task as it stands."""
        found: dict[str, Any] = self.get(f"/v1/opscore/tasks/{id}")
        return found

    def journal(self, id: str) -> list[dict[str, Any]]:
        """A task's events, oldest first."""
        found: list[dict[str, Any]] = self.get(f"/v1/opscore/tasks/{id}/journal")["events"]
        return found

    def settled(self, id: str, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait until a task has ended or needs a human."""

        def look() -> dict[str, Any] | None:
            task = self.task(id)
            return task if task["state"] in _ENDED else None

        return wait_for(look, f"the end of {id}", timeout_s) or {}

    def _healthy(self) -> bool:
        try:
            return self.request("GET", "/healthz").status_code == 200
        except httpx2.TransportError:
            return False


class ModelServer(Process):
    """`python -m opspawn.testing.openai_server`: answers from a script, logs each request before it answers it."""

    def __init__(self, script: Path, *, latency_s: float = 0.0) -> None:
        self.log = script.with_name(f"requests-{time.monotonic_ns()}.jsonl")
        options = ["--script", str(script), "--latency", str(latency_s), "--log", str(self.log)]
        super().__init__([sys.executable, "-m", "opspawn.testing.openai_server", *options], script.parent)
        self.base_url = self.line("listening on").removeprefix("listening on ").strip()

    def __enter__(self) -> ModelServer:
        return self

    @property
    def requests(self) -> list[dict[str, Any]]:
        """What came so far, in order: time (epoch seconds), messages, tools, ..."""
        return json_lines(self.log)

    @property
    def env(self) -> dict[str, str]:
        """The variables that make this server the model of every agent that names none."""
        return {
            "OPSPAWN_MODEL": "openai:scripted",
            "OPSPAWN_PLUGINS__OPENAI__BASE_URL": self.base_url,
            "OPSPAWN_LOGS__FORMAT": "json",
        }
