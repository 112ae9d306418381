"""The Tasks extension: a call that becomes a task is followed to its end, over crashes, and never made twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from opspawn.contracts.store import Task, TaskState
from opspawn.contracts.tool import ToolContext
from opspawn.errors import ToolError
from opspawn.host import Host
from opspawn.rest.listening import Listener
from opspawn_mcp.faults import ServerFault
from opspawn_mcp.fleet import Fleet

from ._hosts import asked_by, running
from ._plain import config_of
from .servers.tasks import FORM, Tasking

NOBODY = ToolContext("", "helper")
CALL = {"tool": "far__build", "source": "mcp:far/*"}
PATIENCE_S = 40.0
WORK = """
import asyncio, sys
from pathlib import Path
from opspawn import App
from opspawn.config import load_settings
from opspawn.host import Host
async def main():
    async with Host.open(App(), loaded=load_settings(environ={}, cwd=Path(sys.argv[1]))) as host:
        print((await host.submit("tool/call", {"tool": "far__build", "source": "mcp:far/*"})).id, flush=True)
        await host.working()
asyncio.run(main())
"""


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Tasking, str]]:
    listener, made = Listener("127.0.0.1", 0, "test"), Tasking()
    listener.bind()
    await listener.serve(made.app)
    try:
        yield made, f"{listener.address}/mcp"
    finally:
        await listener.stop()


def table(url: str, **more: Any) -> dict[str, Any]:
    return {"url": url, "allow_private": True, "pin": "off", "mode": "modern", "timeout_s": 20, **more}


def configure(folder: Path, url: str, **more: Any) -> None:
    effects = more.pop("effect", "once")
    lines = [f"{key} = {json.dumps(value)}" for key, value in table(url, **more).items()]
    lines += [f'effects = {{"*" = "{effects}"}}', "[worker]", "poll_s = 0.05", "drain_s = 0.1", "lease_s = 2.0"]
    (folder / "opspawn.toml").write_text("\n".join(["[plugins.mcp.servers.far]", *lines]))


async def ended(host: Host, task: Task) -> Task:
    return await host.wait(task.id, PATIENCE_S)


@pytest.mark.parametrize("effect", ["once", "read"])
async def test_a_task_is_followed_on_after_a_kill_and_the_call_is_not_made_again(tmp_path: Path, effect: str) -> None:
    async with serving() as (server, url):
        configure(tmp_path, url, effect=effect)
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WORK, str(tmp_path), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        assert worker.stdout is not None
        id = (await worker.stdout.readline()).decode().strip()
        await server.until("tasks/get", 2)
        os.kill(worker.pid, signal.SIGKILL)
        await worker.wait()
        looked = len(server.said)
        server.end()
        async with running(tmp_path) as host:
            task = await host.wait(id, PATIENCE_S)
            notes = [event.data["note"] for event in await host.journal(id) if event.type == "call.noted"]

    assert (task.state, task.result) == (TaskState.SUCCEEDED, "built")
    assert server.calls() == 1
    assert ("tasks/get", "t-1") in server.said[looked:]
    assert [(note["mcp"], note["id"]) for note in notes] == [("task", "t-1")]


async def test_a_worker_that_stops_leaves_the_task_to_the_next(tmp_path: Path) -> None:
    async with serving() as (server, url):
        configure(tmp_path, url)
        async with running(tmp_path) as host:
            task = await host.submit("tool/call", CALL)
            await server.until("tasks/get")
        server.end()
        async with running(tmp_path) as host:
            said = (await ended(host, task)).result

    assert (said, server.calls()) == ("built", 1)
    assert "tasks/cancel" not in [method for method, _ in server.said]


async def test_to_cancel_the_run_cancels_the_task_at_the_server(tmp_path: Path) -> None:
    async with serving() as (server, url):
        configure(tmp_path, url)
        async with running(tmp_path) as host:
            task = await host.submit("tool/call", CALL)
            await server.until("tasks/get")
            await host.cancel(task.id)
            state = (await ended(host, task)).state
            await server.until("tasks/cancel")

    assert state is TaskState.CANCELLED
    assert server.tasks["t-1"]["status"] == "cancelled"


async def test_what_a_task_needs_to_know_is_asked_of_people_and_told_once(tmp_path: Path) -> None:
    async with serving() as (server, url):
        server.begins = {"status": "input_required", "inputRequests": {"many": FORM}}
        configure(tmp_path, url, ask_people=True)
        async with running(tmp_path) as host:
            task = await host.submit("tool/call", CALL)
            first = await asked_by(host)
        async with running(tmp_path) as host:
            await host.answer(first.id, {"n": 3})
            await server.until("tasks/update")
            server.end()
            said = (await ended(host, task)).result

    assert first.question.text == "The MCP server 'far' asks: How many?"
    assert server.updates == [{"many": {"action": "accept", "content": {"n": 3}}}]
    assert (said, server.calls()) == ("built", 1)


@asynccontextmanager
async def calling(folder: Path, url: str, **more: Any) -> AsyncIterator[tuple[Fleet, asyncio.Task[Any]]]:
    fleet = Fleet(config_of(folder, {"far": table(url, **more)}))
    await fleet.member("far").server.ready()
    call = asyncio.create_task(fleet.member("far").tool("build").call({}, NOBODY))
    try:
        yield fleet, call
    finally:
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await fleet.aclose()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"status": "failed", "error": {"code": 1, "message": "no disk"}}, "its task failed: no disk"),
        ({"status": "failed", "statusMessage": "no luck"}, "its task failed: no luck"),
        ({"status": "cancelled"}, "its task was cancelled there"),
        ({"status": "completed", "result": {"content": 5}}, "what the protocol does not know"),
        ({"status": "asleep"}, "what the protocol does not know: status"),
        ({"status": "input_required", "inputRequests": {"many": FORM}}, "people may not be asked"),
    ],
)
async def test_a_task_that_gives_nothing_says_why(tmp_path: Path, how: dict[str, Any], words: str) -> None:
    async with serving() as (server, url), calling(tmp_path, url) as (_, call):
        await server.until("tasks/get")
        server.tasks["t-1"].update(how)
        with pytest.raises(ServerFault, match=words):
            await asyncio.wait_for(call, PATIENCE_S)


async def test_a_result_that_is_an_error_is_one_for_the_model(tmp_path: Path) -> None:
    async with serving() as (server, url), calling(tmp_path, url) as (_, call):
        await server.until("tasks/get")
        server.end("no such branch")
        server.tasks["t-1"]["result"]["isError"] = True
        with pytest.raises(ToolError, match="far/build failed: no such branch"):
            await asyncio.wait_for(call, PATIENCE_S)


async def test_a_task_that_the_server_forgot_is_told_as_such(tmp_path: Path) -> None:
    async with serving() as (server, url), calling(tmp_path, url) as (_, call):
        await server.until("tasks/get")
        server.tasks.clear()
        with pytest.raises(ServerFault, match="does not know its task 't-1' any more") as raised:
            await asyncio.wait_for(call, PATIENCE_S)

    assert "it keeps tasks for 60 s" in raised.value.message
    assert raised.value.remedy == "Find out what it did before you call it again."


async def test_a_call_that_may_be_repeated_is_when_its_task_was_forgotten(tmp_path: Path) -> None:
    async with serving() as (server, url):
        configure(tmp_path, url, effect="read")
        async with running(tmp_path) as host:
            task = await host.submit("tool/call", CALL)
            await server.until("tasks/get")
            server.tasks.clear()
            await server.until("tools/call", 2)
            server.end("again")
            said = (await ended(host, task)).result

    assert (said, server.calls()) == ("again", 2)


async def test_a_server_that_is_away_is_waited_for(tmp_path: Path) -> None:
    async with serving() as (server, url), calling(tmp_path, url) as (_, call):
        await server.until("tasks/get")
        server.away = True
        await asyncio.sleep(0.3)
        server.end()
        server.away = False
        assert await asyncio.wait_for(call, PATIENCE_S) == "built"

    assert server.calls() == 1


async def test_a_task_that_takes_too_long_is_ended_at_the_server(tmp_path: Path) -> None:
    async with serving() as (server, url), calling(tmp_path, url, task_timeout_s=0.3) as (_, call):
        with pytest.raises(ServerFault, match=r"did not end within 0\.3 s") as raised:
            await asyncio.wait_for(call, PATIENCE_S)
        await server.until("tasks/cancel")

    assert raised.value.error_type == "timeout"


async def test_a_server_that_may_not_make_tasks_is_not_told_of_them(tmp_path: Path) -> None:
    async with serving() as (_, url), calling(tmp_path, url, tasks=False) as (_, call):
        assert await asyncio.wait_for(call, PATIENCE_S) == "built at once"
