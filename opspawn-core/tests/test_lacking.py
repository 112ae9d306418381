"""Two versions of an app side by side: a worker that lacks what a task needs gives it back, and another goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from opspawn import App, tool
from opspawn.config import load_settings
from opspawn.contracts.store import Task
from opspawn.host import Host
from opspawn.ops.run import life

PATIENCE_S = 20.0
FLOW = {
    "opspawn": "1",
    "name": "report",
    "steps": {"only": {"uses": "tool/fresh"}},
    "output": "${{ steps.only.output }}",
}


@tool(effect="read")
async def fresh() -> str:
    """What only the new version has."""
    return "fresh"


@pytest.fixture
async def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Host]:
    """A worker of the old version, which lacks the tool."""
    monkeypatch.setattr(life, "LACKING_S", 0.3)
    async with _open(tmp_path, []) as host:
        yield host


async def test_a_workflow_waits_for_a_worker_that_has_its_tools(old: Host, tmp_path: Path) -> None:
    """Named guard: nothing of a definition is begun where a part of it is missing."""
    async with AsyncExitStack() as stack:
        new = await stack.enter_async_context(_open(tmp_path, [fresh], worker=False))
        task = await new.submit_definition(FLOW)
        await _given_back(old, task)
        await _until_told(old, task, "The worker that took it last has no tool 'fresh'")

        await stack.enter_async_context(_open(tmp_path, [fresh]))
        ended = await new.wait(task.id, PATIENCE_S)

    assert (ended.state, ended.result, ended.attempt) == ("succeeded", "fresh", 0)


async def test_a_call_waits_for_a_worker_that_has_the_tool(old: Host, tmp_path: Path) -> None:
    """Named guard: a call of a tool that is missing is no failure."""
    async with _open(tmp_path, [fresh], worker=False) as new:
        task = await new.submit("tool/call", {"tool": "fresh"})
        event = await _given_back(old, task)
        async with _open(tmp_path, [fresh]):
            ended = await new.wait(task.id, PATIENCE_S)

    assert event.data["lacks"] == {"kind": "tool", "name": "fresh"}
    assert (ended.state, ended.result, ended.attempt) == ("succeeded", "fresh", 0)


async def _given_back(host: Host, task: Task) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            events = await host.journal(task.id)
            if found := [event for event in events if event.type == "task.released"]:
                return found[0]
            await asyncio.sleep(0.02)


async def _until_told(host: Host, task: Task, words: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if (await host.why(task.id)).waits[0].what.startswith(words):
                return
            await asyncio.sleep(0.02)


def _open(folder: Path, tools: list[Any], worker: bool = True) -> Any:
    loaded = load_settings(cwd=folder, overrides={"worker.poll_s": 0.05})
    return Host.open(App(tools=tools), loaded=loaded, data=folder / "data", worker=worker)
