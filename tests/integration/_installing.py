"""Programs that we did not write, installed once from PyPI or npm into `.bench`. What cannot be installed fails."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / ".bench"
_PATIENCE_S = 240


def install(folder: Path, wanted: Sequence[str], *commands: Sequence[str]) -> None:
    """Run commands that put what is wanted into a folder, unless it is there."""
    stamp = folder / "installed.json"
    if stamp.exists() and json.loads(stamp.read_text()) == list(wanted):
        return
    folder.mkdir(parents=True, exist_ok=True)
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
        if done.returncode:
            reason = " ".join((done.stderr or done.stdout).split())[-300:]
            pytest.fail(f"{', '.join(wanted)} cannot be installed, perhaps no registry can be reached: {reason}")
    stamp.write_text(json.dumps(list(wanted)))


def environment(folder: Path, wanted: Sequence[str]) -> Path:
    """The folder of programs of an environment that has these packages of PyPI."""
    programs = folder / "bin"
    uv = [sys.executable, "-m", "uv"]
    make = [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)]
    fill = [*uv, "pip", "install", "--quiet", "--python", str(programs / "python"), *wanted]
    install(folder, wanted, make, fill)
    return programs
