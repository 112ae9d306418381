"""MCP servers that we did not write, installed once from npm and PyPI into `.bench/mcp-servers`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HOME = Path(__file__).resolve().parents[2] / ".bench" / "mcp-servers"
SCOPE = "@modelcontextprotocol"
NPM = [f"{SCOPE}/server-everything@2026", f"{SCOPE}/server-filesystem@2026", f"{SCOPE}/server-memory@2026"]
#: Each in an environment of its own: the last one was made for the older SDK.
PYPI = {"time": ["mcp-server-time"], "git": ["mcp-server-git"], "sqlite": ["mcp-server-sqlite", "mcp<2"]}
_PATIENCE_S = 240


def npm_server(name: str, *args: str) -> dict[str, Any]:
    """The settings of a server from npm. Skips the test, saying why, where it cannot be installed."""
    program = shutil.which("node")
    if program is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    folder = HOME / "npm"
    _install(folder, NPM, ["npm", "install", "--no-fund", "--no-audit", "--prefix", str(folder), *NPM])
    return {"command": program, "args": [str(folder / "node_modules" / ".bin" / f"mcp-server-{name}"), *args]}


def pypi_server(name: str, *args: str) -> dict[str, Any]:
    """The settings of a server from PyPI. Skips the test, saying why, where it cannot be installed."""
    folder, wanted = HOME / name, PYPI[name]
    python = str(folder / "bin" / "python")
    uv = [sys.executable, "-m", "uv"]
    make = [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)]
    _install(folder, wanted, make, [*uv, "pip", "install", "--quiet", "--python", python, *wanted])
    return {"command": str(folder / "bin" / f"mcp-server-{name}"), "args": list(args)}


def _install(folder: Path, wanted: list[str], *commands: list[str]) -> None:
    stamp = folder / "installed.json"
    if stamp.exists() and json.loads(stamp.read_text()) == wanted:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
        if done.returncode:
            reason = " ".join((done.stderr or done.stdout).split())[-300:]
            pytest.skip(f"{', '.join(wanted)} cannot be installed, perhaps no registry can be reached: {reason}")
    stamp.write_text(json.dumps(wanted))
