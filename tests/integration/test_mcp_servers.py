"""The fleet against servers that we did not write: from npm and PyPI, over stdio and HTTP, of both eras."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from opspawn.contracts.content import Image
from opspawn.contracts.tool import ToolContext
from opspawn_mcp import McpConfig
from opspawn_mcp.fleet import Fleet, Member

from ._mcp_servers import npm_server, pypi_server

pytestmark = pytest.mark.timeout(600)  # they are installed when they are first asked for
NOBODY = ToolContext("", "helper")


@asynccontextmanager
async def connected(folder: Path, **server: Any) -> AsyncIterator[Member]:
    table = {"pin": "off", "trust_hints": True, **server}
    fleet = Fleet(McpConfig.model_validate({"servers": {"it": table}, "root": folder}))
    try:
        await fleet.member("it").server.ready()
        yield fleet.member("it")
    finally:
        await fleet.aclose()


async def call(member: Member, tool: str, **arguments: Any) -> Any:
    return await member.tool(tool).call(arguments, NOBODY)


async def test_everything_over_stdio(tmp_path: Path) -> None:
    async with connected(tmp_path, **npm_server("everything")) as it:
        assert await call(it, "echo", message="hello") == "Echo: hello"
        assert "5" in await call(it, "get-sum", a=2, b=3)
        assert isinstance((await call(it, "get-tiny-image"))[1], Image)
        assert "temperature" in await call(it, "get-structured-content", location="New York")


@pytest.fixture
def everything_url() -> Iterator[str]:
    settings = npm_server("everything", "streamableHttp")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [settings["command"], *settings["args"]]
    process = subprocess.Popen(command, env={"PORT": str(port)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait()


async def test_everything_over_http(everything_url: str, tmp_path: Path) -> None:
    async with connected(tmp_path, url=everything_url, allow_private=True) as it:
        assert await call(it, "echo", message="hello") == "Echo: hello"


async def test_filesystem(tmp_path: Path) -> None:
    async with connected(tmp_path, **npm_server("filesystem", str(tmp_path))) as it:
        await call(it, "write_file", path=str(tmp_path / "a.txt"), content="hello")
        assert it.tool("read_text_file").effect == "read"
        assert it.tool("write_file").effect == "idempotent"
        assert (tmp_path / "a.txt").read_text() == "hello"
        assert "hello" in json.dumps(await call(it, "read_text_file", path=str(tmp_path / "a.txt")))


async def test_memory(tmp_path: Path) -> None:
    file = {"MEMORY_FILE_PATH": str(tmp_path / "memory.json")}
    async with connected(tmp_path, **npm_server("memory"), env=file) as it:
        entity = {"name": "ann", "entityType": "person", "observations": ["likes tea"]}
        await call(it, "create_entities", entities=[entity])
        assert "likes tea" in json.dumps(await call(it, "search_nodes", query="tea"))


async def test_time(tmp_path: Path) -> None:
    async with connected(tmp_path, **pypi_server("time", "--local-timezone", "Europe/Berlin")) as it:
        assert it.server.protocol == "2026-07-28"
        assert "Europe/Berlin" in json.dumps(await call(it, "get_current_time", timezone="Europe/Berlin"))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "new.txt").write_text("new")
    return tmp_path


async def test_git(repository: Path, tmp_path: Path) -> None:
    async with connected(tmp_path, **pypi_server("git")) as it:
        assert "new.txt" in json.dumps(await call(it, "git_status", repo_path=str(repository)))


async def test_sqlite(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    async with connected(tmp_path, **pypi_server("sqlite", "--db-path", str(file))) as it:
        assert it.server.protocol == "2025-11-25"
        await call(it, "create_table", query="CREATE TABLE t (n INTEGER)")
        await call(it, "write_query", query="INSERT INTO t VALUES (7)")
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT n FROM t").fetchall() == [(7,)]


def _wait_for(port: int) -> None:
    until = time.monotonic() + 60
    while True:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < until, "the server does not listen"
        time.sleep(0.05)
