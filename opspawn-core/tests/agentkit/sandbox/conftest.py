"""Runs of hostile tools by a worker of its own: as root, if the tests are root's, and as an ordinary user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the tools' modules are imported by name, here and by other processes
#: Only root can be left root.
collect_ignore = [] if os.geteuid() == 0 else ["test_walls_of_root.py"]
USERS = ("root", "ordinary") if os.geteuid() == 0 else ("ordinary",)


class Worker:
    """Starts `hostile_run.py` and reads what it tells."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def start(self, user: str, *, walls: str | None = None, tools: str = "", policy: str = "required") -> Any:
        script = [str(HERE / "hostile_run.py"), str(HERE), str(self._folder)]
        if walls is not None or tools:
            script.append(f"{'landlock,seccomp,namespaces,user' if walls is None else walls}:{tools}")
        drop = [str(HERE / "as_nobody.py")] if user == "ordinary" and os.geteuid() == 0 else []
        environment = {**os.environ, "POLICY": policy, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.Popen(
            [sys.executable, *drop, *script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        )

    def told(self, process: Any) -> dict[str, Any]:
        out, err = process.communicate(timeout=55)
        assert process.returncode == 0, err.decode()[-3000:]
        return {**json.loads(out), "log": err.decode()}

    def run(self, user: str, **options: Any) -> dict[str, Any]:
        return self.told(self.start(user, **options))


@pytest.fixture(scope="session")
def worker() -> Iterator[Worker]:
    """Its folder may be written by everybody, and is not below a folder that only root can enter."""
    with tempfile.TemporaryDirectory(prefix="opspawn-hostile-") as folder:
        os.chmod(folder, 0o777)
        yield Worker(Path(folder))


@pytest.fixture(scope="session")
def hostile(worker: Worker) -> dict[str, dict[str, Any]]:
    """What all hostile tools came to, by user. All run once, at the same time."""
    running = {user: worker.start(user) for user in USERS}
    return {user: worker.told(process) for user, process in running.items()}


@pytest.fixture(params=USERS)
def user(request: pytest.FixtureRequest) -> str:
    return str(request.param)
