"""A call of a remote MCP tool, as a task of its own, whose worker is killed before and after each write in turn:
on every store it ends the same, and no effect happens twice that must not.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from opspawn import App
from opspawn.config import Loaded, load_settings
from opspawn.contracts.store import Store
from opspawn.host import Host
from opspawn.rest.listening import Listener
from opspawn.testing import crash_everywhere
from opspawn_store_redis.settings import RedisConfig
from opspawn_store_redis.store import open_redis
from opspawn_store_redis.testing import RedisServer

SERVER = Path(__file__).resolve().parents[2] / "plugins" / "opspawn-mcp" / "tests" / "servers" / "tasks.py"
CALL = {"tool": "far__build", "source": "mcp:far/*"}


@pytest.fixture(params=["sqlite", "redis"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Opens the store of a run, by its name; None for the default, SQLite."""
    if request.param == "sqlite":
        yield None
        return
    with RedisServer(tmp_path) as redis:

        async def opened(name: str) -> Store:
            return await open_redis(RedisConfig(url=redis.url, namespace=name, durability="none"))

        yield opened


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Any, str]]:
    spec = importlib.util.spec_from_file_location("opspawn_tests_tasking", SERVER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    listener, made = Listener("127.0.0.1", 0, "test"), module.Tasking()
    listener.bind()
    await listener.serve(made.app)
    try:
        yield made, f"{listener.address}/mcp"
    finally:
        await listener.stop()


def loaded(folder: Path, url: str, **more: Any) -> Loaded:
    table = {"url": url, "allow_private": True, "pin": "off", "mode": "modern", **more}
    return load_settings(
        environ={}, cwd=folder, overrides={f"plugins.mcp.servers.far.{k}": v for k, v in table.items()}
    )


async def scenario(host: Host) -> Any:
    task = await host.submit("tool/call", CALL)
    while not task.state.terminal:  # one in doubt is decided by somebody else
        await asyncio.sleep(0.02)
        task = await host.wait(task.id, 60)
    return task.result


@pytest.mark.timeout(180)
@pytest.mark.parametrize("tasks", [False, True])
async def test_a_call_ends_the_same_wherever_its_worker_is_killed(tmp_path: Path, open_store: Any, tasks: bool) -> None:
    called: list[int] = []
    async with serving() as (server, url):
        server.ends_at_once = True

        def begin() -> App:
            called.append(server.calls())
            return App()

        def decide(doubt: Mapping[str, Any]) -> tuple[str, Any]:
            """A human looks at the server."""
            result = "built" if tasks else "built at once"
            return ("happened", result) if server.calls() > called[-1] else ("not-happened", None)

        runs = await crash_everywhere(
            begin,
            scenario,
            effects=lambda: server.calls() - called[-1],
            decide=decide,
            open_store=open_store,
            lease_s=0.7,  # to lose one that lives costs a doubt, which is decided like any other
            loaded=loaded(tmp_path, url, tasks=tasks),
        )

    assert runs[0].answer == ("built" if tasks else "built at once")
    assert runs[0].effects == 1
    assert len(runs) > 4
    doubts = {run.write: run.doubts for run in runs if run.after}
    assert set(doubts.values()) == {0, 1}
