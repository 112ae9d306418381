"""An app that began on a file moves to a server, with all that it has, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from opspawn_store_redis.testing import RedisServer

from ._process import Serve, opspawn, wait_for

APP = """
from opspawn import App


async def greet(ctx):
    return f"Hello, {await ctx.ask('Who is there?')}."


async def later(ctx):
    await ctx.sleep(2.0)
    return "slept"


app = App(functions={"greet": greet, "later": later})
"""
REDIS = """
app = "app:app"
store = "redis"
waker = "redis"
[plugins.redis]
url = "{url}"
"""


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis", aof="everysec") as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "opspawn.toml").write_text('app = "app:app"\n')
    return tmp_path


def test_what_waits_on_a_file_goes_on_on_a_server_and_comes_back(folder: Path, redis: RedisServer) -> None:
    there = f"redis://127.0.0.1:{redis.port}/0"
    with Serve(folder) as server:
        greeting = server.post("/v1/opscore/tasks", {"handler": "function/greet", "input": None})["id"]
        later = server.post("/v1/opscore/tasks", {"handler": "function/later", "input": None})["id"]
        wait_for(lambda: server.get("/v1/opscore/questions")["questions"], "the question")
        wait_for(lambda: server.task(later)["state"] == "waiting", "the sleep")
        used = opspawn("store", "copy", "--from", "sqlite", "--to", there, folder=folder)
    before = json.loads(opspawn("tasks", "journal", greeting, "--json", folder=folder).stdout.splitlines()[0])

    copied = opspawn("store", "copy", "--from", "sqlite", "--to", there, "--json", folder=folder)
    again = opspawn("store", "copy", "--from", "sqlite", "--to", there, folder=folder)
    (folder / "opspawn.toml").write_text(REDIS.format(url=there))
    with Serve(folder) as server:
        used_there = opspawn("store", "copy", "--from", "redis", "--to", "sqlite:back.db", folder=folder)
        assert server.settled(later)["result"] == "slept"
        (asked,) = server.get("/v1/opscore/questions")["questions"]
        server.post(f"/v1/opscore/questions/{asked['id']}/answer", {"value": "Ada"})
        assert server.settled(greeting)["result"] == "Hello, Ada."
        assert server.journal(greeting)[0] == before
    back = opspawn("store", "copy", "--from", "redis", "--to", "sqlite:back.db", "--json", folder=folder)
    (folder / "opspawn.toml").write_text('app = "app:app"\n[plugins.sqlite]\npath = "back.db"\n')
    shown = json.loads(opspawn("tasks", "show", greeting, "--json", folder=folder).stdout)

    for told in (used, used_there):
        assert told.returncode != 0
        assert told.stderr.count("\n") == 1, told.stderr
        assert "is in use: process " in told.stderr
    assert copied.returncode == 0, copied.stderr
    assert json.loads(copied.stdout)["parts"]["tasks"]["count"] == 2
    assert "Nothing to do: all 2 tasks" in again.stderr
    assert back.returncode == 0, back.stderr
    assert shown["result"] == "Hello, Ada."
