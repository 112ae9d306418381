"""One app as a fleet: a server that only accepts, workers in processes of their own, a store that is a Redis server.

The same file as on one machine; two lines of configuration, and where the server is.
"""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from opspawn_store_redis.testing import RedisServer

from ._process import OPSPAWN, Process, Serve, json_lines, opspawn, wait_for

APP = """
import asyncio, json, os
from pathlib import Path
from opspawn import App

LINES = Path(__file__).with_name("effects.jsonl")


async def chain(ctx):
    async def act(n):
        with LINES.open("a") as file:
            file.write(json.dumps({"task": ctx.task, "step": n, "pid": os.getpid()}) + "\\n")
        await asyncio.sleep(0.03)
        return n

    return [await ctx.step("act", act, n) for n in range(4)]


app = App(functions={"chain": chain})
"""
SUBMIT = """
import asyncio, sys
from pathlib import Path
from opspawn.app import load_app
from opspawn.host import Host


async def main():
    async with Host.open(load_app("app:app", Path.cwd()), worker=False, runs=True) as host:
        tasks = await asyncio.gather(*(host.submit("function/chain", n) for n in range(int(sys.argv[1]))))
        print("submitted", flush=True)
        states = [(await host.wait(task.id, 140.0)).state for task in tasks]
        results = [(await host.task(task.id)).result for task in tasks]
        print(sum(result == [0, 1, 2, 3] for result in results), sorted(set(map(str, states))), flush=True)


asyncio.run(main())
"""
SETTINGS = """
app = "app:app"
store = "redis"
waker = "arq"
[plugins.redis]
url = "{url}"
durability = "always"
[worker]
lease_s = 2
slots = 8
drain_s = 2
"""
PYTHON = str(Path(OPSPAWN).with_name("python"))


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis", aof="always") as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path, redis: RedisServer) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "submit.py").write_text(SUBMIT)
    (tmp_path / "opspawn.toml").write_text(SETTINGS.format(url=redis.url))
    return tmp_path


def workers_seen(folder: Path) -> list[dict[str, Any]]:
    told = opspawn("workers", "--json", folder=folder, timeout_s=60.0)
    assert told.returncode == 0, told.stderr
    listed = json.loads(told.stdout)
    found: list[dict[str, Any]] = listed if isinstance(listed, list) else listed["workers"]
    return found


@pytest.mark.timeout(240)
def test_a_fleet_does_everything_once_while_workers_die_and_the_server_is_killed(
    folder: Path, redis: RedisServer
) -> None:
    """Workers are killed, frozen past their lease and told to stop; the server of the store is killed and started."""
    effects = folder / "effects.jsonl"

    def seen() -> set[int]:
        return {line["pid"] for line in json_lines(effects)}

    with ExitStack() as stack:
        fleet = [stack.enter_context(Process([OPSPAWN, "worker"], folder)) for _ in range(3)]
        submitted = []
        for fault in ("kill", "redis", "freeze", "stop"):
            done = len(json_lines(effects))
            submitted.append(stack.enter_context(Process([PYTHON, "submit.py", "40"], folder)))
            wait_for(lambda done=done: len(json_lines(effects)) > done + 20, f"some work before {fault}", 60.0)
            member = next(one for one in fleet if one.pid in seen())
            if fault == "redis":
                redis.kill()
                time.sleep(0.2)
                redis.start()
            elif fault == "freeze":
                member.send(signal.SIGSTOP)
                time.sleep(2.6)
                member.send(signal.SIGCONT)
            else:
                fleet.remove(member)
                if fault == "kill":
                    member.kill()
                else:
                    member.send(signal.SIGTERM)
                    assert member.ended() == 0, member.output
                fleet.append(stack.enter_context(Process([OPSPAWN, "worker"], folder)))
        for submitting in submitted:
            assert submitting.ended(150) == 0, submitting.output
            assert submitting.lines[-1].strip() == "40 ['succeeded']"
    lines = json_lines(folder / "effects.jsonl")
    counts = Counter((line["task"], line["step"]) for line in lines)
    assert len(counts) == 4 * 40 * 4
    assert len({line["pid"] for line in lines}) > 1
    # Only what was in flight when something died may have begun again: at most the slots of each that did.
    assert sum(counts.values()) - len(counts) <= 4 * 3 * 8


@pytest.mark.timeout(150)
def test_a_server_that_only_accepts_and_a_worker_elsewhere_are_one_app(folder: Path) -> None:
    """What is asked over HTTP is done by the worker, and each shows what the other does."""
    with Serve(folder, None, "--no-worker") as server, Process([OPSPAWN, "worker"], folder) as worker:
        with Process([PYTHON, "submit.py", "3"], folder) as submitting:
            assert submitting.ended(60) == 0, submitting.output
            assert submitting.lines[-1].strip() == "3 ['succeeded']"
        assert server.get("/readyz")["ready"] is True
        told = json.loads(opspawn("tasks", "list", "--json", folder=folder).stdout)
        assert [task["state"] for task in told] == ["succeeded"] * 3
        assert len(workers_seen(folder)) == 1
        worker.send(signal.SIGTERM)
        assert worker.ended() == 0, worker.output
        assert workers_seen(folder) == []


def test_a_store_that_cannot_be_reached_is_one_line_with_the_remedy(folder: Path, redis: RedisServer) -> None:
    redis.stop()
    text = (folder / "opspawn.toml").read_text().replace('durability = "always"', 'durability = "always"\nretry_s = 0')
    (folder / "opspawn.toml").write_text(text)

    told = opspawn("tasks", "list", folder=folder)

    assert told.returncode != 0
    assert told.stdout == ""
    assert told.stderr.count("\n") == 1
    assert "cannot be reached" in told.stderr
    assert "url in [plugins.redis]" in told.stderr


def test_a_server_that_would_lose_what_it_confirmed_is_refused(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        (tmp_path / "app.py").write_text(APP)
        (tmp_path / "opspawn.toml").write_text(SETTINGS.format(url=server.url))
        told = opspawn("worker", folder=tmp_path)

    assert told.returncode != 0
    assert told.stderr.count("\n") == 1
    assert "appendonly" in told.stderr
