"""A session that ends while a task of it is accepted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from opspawn import App
from opspawn.config import load_settings
from opspawn.contracts.run import RunContext
from opspawn.errors import InvalidTransition
from opspawn.host import Host


async def echo(ctx: RunContext) -> Any:
    return ctx.input


@pytest.mark.parametrize("end", ["completed", "cancelled"])
async def test_a_session_ends_or_takes_a_task_and_never_both(tmp_path: Path, end: str) -> None:
    """A cancelled session may have taken it, and then ends it."""
    loaded = load_settings(cwd=tmp_path, environ={}, overrides={})
    async with Host.open(App(functions={"echo": echo}), loaded=loaded, worker=False) as host:
        await host.registry.register("demo", name="Demo", contact_endpoint="https://agents.example/")
        for _ in range(20):
            session = await host.sessions.start_session("demo")
            ended, task = await asyncio.gather(
                host.sessions.update_session("demo", session.id, {"status": end}),
                host.submit("function/echo", session=session.id),
                return_exceptions=True,
            )
            refused = [one for one in (ended, task) if isinstance(one, BaseException)]
            assert all(isinstance(one, InvalidTransition) for one in refused), refused
            if end == "completed":
                assert len(refused) == 1, (ended, task)
            elif not isinstance(task, BaseException):
                assert (await host.task(task.id)).state == "cancelled"


async def test_tasks_of_a_session_do_not_hinder_each_other(tmp_path: Path) -> None:
    loaded = load_settings(cwd=tmp_path, environ={}, overrides={})
    async with Host.open(App(functions={"echo": echo}), loaded=loaded, worker=False) as host:
        tasks = await asyncio.gather(*(host.submit("function/echo", n, session="s-one") for n in range(100)))
        assert {task.session for task in tasks} == {"s-one"}
