"""A worker is killed in the middle of an MCP call: its server dies with it, and the run ends as the effect says."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from opspawn import Agent, App
from opspawn.config import load_settings
from opspawn.contracts.model import ToolCall
from opspawn.contracts.store import Query
from opspawn.host import Host
from opspawn.testing import LoopPlanner, ScriptedModel
from opspawn_store_redis.testing import RedisServer

PLAIN = Path(__file__).resolve().parents[2] / "plugins" / "opspawn-mcp" / "tests" / "servers" / "plain.py"
WORK = """
import asyncio, sys
sys.path.insert(0, {here!r})
import test_mcp_killed as it
asyncio.run(it.work({folder!r}))
"""


@pytest.fixture(params=["sqlite", "redis"])
def configure(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Writes the opspawn.toml of an app with one slow server, on each store."""
    state = tmp_path / "plain.json"
    arguments = json.dumps(["-I", "-S", str(PLAIN), str(state)])

    def write(store: str, **server: Any) -> Path:
        lines = [f'data = "{tmp_path}"', store, "[worker]", "poll_s = 0.05", "lease_s = 2.0"]
        lines += ["[plugins.mcp.servers.plain]", f'command = "{sys.executable}"', f"args = {arguments}", 'pin = "off"']
        lines += ['mode = "legacy"', *(f"{key} = {value}" for key, value in server.items())]
        (tmp_path / "opspawn.toml").write_text("\n".join(lines))
        state.write_text(json.dumps({"call": "silent"}))
        return tmp_path

    if request.param == "sqlite":
        yield lambda **server: write("", **server)
        return
    with RedisServer(tmp_path) as redis:
        lines = f'store = "redis"\nplugins.redis.url = "{redis.url}"\nplugins.redis.durability = "none"'
        yield lambda **server: write(lines, **server)


def app() -> App:
    """An agent that makes one call, and then says what came of it."""

    def answer(request: Any) -> Any:
        said = [message.content for message in request.messages if message.role == "tool"]
        return f"It said: {said[0]}" if said else ToolCall("c", "mcp", {"action": "call", "tool": "plain/echo"})

    return App(agents=[Agent("helper", model=ScriptedModel(answer), planner=LoopPlanner(), tools=["mcp"])])


async def work(folder: str) -> None:
    """What the process that is killed does."""
    loaded = load_settings(environ={}, cwd=Path(folder))
    async with Host.open(app(), loaded=loaded) as host:
        task = await host.submit("agent/helper", "go")
        print(task.id, flush=True)
        await host.working()


@pytest.mark.parametrize(("effect", "state", "calls"), [("read", "succeeded", 2), ("once", "in_doubt", 1)])
def test_the_run_ends_as_the_effect_says(configure: Callable[..., Path], effect: str, state: str, calls: int) -> None:
    folder = configure(effects=f'{{echo = "{effect}"}}')
    log = folder / "plain.calls"
    script = WORK.format(here=str(Path(__file__).parent), folder=str(folder))
    with (folder / "task").open("wb") as task:
        worker = subprocess.Popen([sys.executable, "-c", script], stdout=task, stderr=subprocess.DEVNULL)
    try:
        _until(lambda: log.exists() and "echo" in log.read_text(), "no call came")
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    server = int(log.read_text().split()[1])
    _until(lambda: not _is_alive(server), "the server outlives its host")
    (folder / "plain.json").write_text("{}")

    ended = asyncio.run(_go_on(folder, (folder / "task").read_text().strip()))

    assert ended == state
    assert [line for line in log.read_text().splitlines() if line.startswith("[")] == ['["echo", {}]'] * calls


def test_an_approval_that_was_asked_for_a_call_survives_the_worker(configure: Callable[..., Path]) -> None:
    folder = configure(ask='["echo"]')
    (folder / "plain.json").write_text("{}")
    script = WORK.format(here=str(Path(__file__).parent), folder=str(folder))
    with (folder / "task").open("wb") as task:
        worker = subprocess.Popen([sys.executable, "-c", script], stdout=task, stderr=subprocess.DEVNULL)
    try:
        _until(lambda: (folder / "task").read_text().strip() != "", "no run began")
        asked = asyncio.run(_asked(folder))
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()

    state, again = asyncio.run(_approve(folder, (folder / "task").read_text().strip(), asked))

    assert (state, again) == ("succeeded", [asked])
    calls = [line for line in (folder / "plain.calls").read_text().splitlines() if line.startswith("[")]
    assert calls == ['["echo", {}]']


async def _asked(folder: Path) -> str:
    """The approval that the worker's run asks for, as another process sees it."""
    loaded = load_settings(environ={}, cwd=folder)
    async with Host.open(app(), loaded=loaded, worker=False) as host:
        for _ in range(2000):
            if found := (await host.approvals(Query(limit=5))).items:
                return str(found[0].id)
            await asyncio.sleep(0.02)
    raise AssertionError("nobody was asked")


async def _approve(folder: Path, task: str, asked: str) -> tuple[str, list[str]]:
    """How the run ends in another process's hands, once somebody has approved; and all approvals that there were."""
    async with Host.open(app(), loaded=load_settings(environ={}, cwd=folder)) as host:
        await host.approve(asked, by="ann")
        ended = await host.wait(task, 40)
        return str(ended.state), [one.id for one in (await host.approvals(Query(limit=5))).items]


async def _go_on(folder: Path, task: str) -> str:
    """How the run ends in another process's hands."""
    async with Host.open(app(), loaded=load_settings(environ={}, cwd=folder)) as host:
        return str((await host.wait(task, 40)).state)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _until(what: Callable[[], bool], words: str) -> None:
    end = time.monotonic() + 40
    while not what():
        assert time.monotonic() < end, words
        time.sleep(0.02)
