"""Clients that listen hear of what they are offered anew, in both eras; and nobody is promised more than that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.types import ToolListChangedNotification

from opspawn.host import Host
from opspawn_mcp.fleet import Fleet
from opspawn_mcp.serving import news
from opspawn_mcp.serving.keys import Caller
from opspawn_mcp.serving.news import News

from ._plain import Plain, approve, config_of
from ._served import BESIDE_REST, MODES, client_of, make_folder, serving, text_of

GREET = """
opspawn: "1"
name: greet
inputs:
  who: {type: string, default: hi}
steps:
  a:
    uses: agent/echo
    with: {input: "${{ inputs.who }}"}
output: ${{ steps.a.output }}
"""
both = pytest.mark.parametrize("mode", MODES)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked more often than usual."""
    monkeypatch.setattr(news, "_LOOK_S", 0.02)
    monkeypatch.setattr(news, "_SHARE", 1)


class Heard:
    """A client that listens, and what it heard."""

    def __init__(self) -> None:
        self.client: Client
        self.changes: asyncio.Queue[str] = asyncio.Queue()

    async def hear(self, message: Any) -> None:
        if isinstance(message, ToolListChangedNotification):
            self.changes.put_nowait("tools")

    async def names(self) -> list[str]:
        return [tool.name for tool in (await self.client.list_tools()).tools]

    async def next(self) -> list[str]:
        """The names of the tools, once they have changed; several changes may be told as one."""
        await self.changes.get()
        return await self.names()

    async def until(self, name: str, *, there: bool) -> None:
        while (name in await self.names()) is not there:
            await self.changes.get()


@asynccontextmanager
async def listening(host: Host, mode: str, key: str | None = None) -> AsyncIterator[Heard]:
    heard = Heard()
    async with AsyncExitStack() as stack:
        heard.client = await stack.enter_async_context(client_of(host, mode, key, message_handler=heard.hear))
        for _ in range(3):  # by then an older client has opened the stream for what it is told
            await heard.names()
        if mode != "legacy":
            events = await stack.enter_async_context(heard.client.listen(tools_list_changed=True))

            async def follow() -> None:
                async for _ in events:
                    heard.changes.put_nowait("tools")
                heard.changes.put_nowait("end")

            following = asyncio.create_task(follow())
            stack.callback(following.cancel)
        yield heard


@both
async def test_tools_of_the_fleet_that_come_are_held_back_or_approved_are_told(tmp_path: Path, mode: str) -> None:
    server = Plain(tmp_path, "files", tools=["read"])
    table = server.settings(trust_hints=False, effects={"*": "read"})
    overrides = {f"plugins.mcp.servers.files.{name}": value for name, value in table.items()}
    operator = Fleet(config_of(tmp_path, {"files": server.settings()}))
    await approve(operator)
    folder = make_folder(tmp_path, base=BESIDE_REST)
    running = serving(folder, **overrides, **{"plugins.mcp.serve.export": ["files/*"]})
    async with running as host, listening(host, mode) as heard:
        await heard.client.call_tool("files__read", {})  # so that the server is there
        server.change(tools=["read", "write"], announce=True)
        await heard.client.call_tool("files__read", {})
        await asyncio.sleep(0.4)
        assert heard.changes.empty()  # a new tool that nobody has approved is not offered, so nothing has changed

        await operator.member("files").server.aclose()
        operator = Fleet(config_of(tmp_path, {"files": server.settings()}))
        await approve(operator)
        await heard.until("files__write", there=True)

        server.change(tools=[{"name": "read", "description": "Reads, and tells others."}, "write"], announce=True)
        await heard.client.call_tool("files__write", {})
        await heard.until("files__read", there=False)
        assert "files__write" in await heard.names()
    await operator.aclose()


@both
async def test_a_workflow_that_is_stored_while_it_runs_is_told(tmp_path: Path, mode: str) -> None:
    async with serving(make_folder(tmp_path, base=BESIDE_REST)) as host, listening(host, mode) as heard:
        await host.definitions.create_workflow(GREET)
        await heard.until("run_greet", there=True)
        result = await heard.client.call_tool("run_greet", {"who": "ann"})

    assert text_of(result) == "you said: ann"


@both
async def test_what_can_change_is_declared_and_nothing_else(tmp_path: Path, mode: str) -> None:
    told = []
    for workflows in (["*"], []):
        changed = {"plugins.mcp.serve.workflows": workflows}
        async with serving(make_folder(tmp_path), **changed) as host, client_of(host, mode) as client:
            capabilities = client.server_capabilities
            assert capabilities.tools is not None
            assert capabilities.resources is not None
            told.append((capabilities.tools.list_changed, bool(capabilities.resources.list_changed)))
            assert not capabilities.resources.subscribe
            assert capabilities.prompts is None

    assert [(bool(tools), resources) for tools, resources in told] == [(True, False), (False, False)]


async def test_what_is_not_told_of_is_not_acknowledged(tmp_path: Path) -> None:
    async with serving(make_folder(tmp_path)) as host, client_of(host) as client:
        wanted = client.listen(
            tools_list_changed=True, resources_list_changed=True, resource_subscriptions=["opspawn://sessions/a"]
        )
        async with wanted as events:
            assert events.honored.tools_list_changed
            assert not events.honored.resources_list_changed
            assert not events.honored.resource_subscriptions


async def test_a_stop_ends_the_streams_of_those_who_listen(tmp_path: Path) -> None:
    async with (
        serving(make_folder(tmp_path, base=BESIDE_REST)) as host,
        listening(host, "auto") as heard,
        listening(host, "legacy"),
    ):
        host.stop()
        await asyncio.gather(*(transport.stop() for transport in host.transports))
        assert await heard.changes.get() == "end"


KEYS = """
[plugins.mcp.serve.keys.agents]
token = "agents-0123456789"
tools = ["ask_*"]

[plugins.mcp.serve.keys.all]
token = "everything-0123456789"
"""


@both
async def test_who_is_not_offered_it_is_not_told_of_it(tmp_path: Path, mode: str) -> None:
    async with (
        serving(make_folder(tmp_path, KEYS, BESIDE_REST)) as host,
        listening(host, mode, "agents-0123456789") as few,
        listening(host, mode, "everything-0123456789") as all_,
    ):
        await host.definitions.create_workflow(GREET)
        while "run_greet" not in await all_.next():
            pass
        await few.names()

        assert few.changes.empty()


# -- the looking itself ------------------------------------------------------------------------------------------------

ANN, BOB = Caller("ann"), Caller("bob")


async def test_what_changes_before_the_first_look_is_told() -> None:
    """A client of the older era listens as soon as it is ready, and asks then."""
    told = asyncio.Queue[str]()

    async def look(caller: Caller) -> dict[str, int]:
        return {"a": 1}

    async def tell() -> None:
        told.put_nowait("told")

    made = News(look)
    leave = made.listen(ANN, tell)
    made.shown(ANN, {"a": 0})
    assert await asyncio.wait_for(told.get(), 20) == "told"
    leave()


async def test_what_changed_while_a_client_was_away_is_told_when_it_listens_again() -> None:
    told, offered = asyncio.Queue[str](), {"a": 0}

    async def look(caller: Caller) -> dict[str, int]:
        return dict(offered)

    async def tell() -> None:
        told.put_nowait("told")

    made = News(look)
    made.shown(ANN, {"a": 0})
    made.listen(ANN, tell)()
    offered["a"] = 1
    leave = made.listen(ANN, tell)
    assert await asyncio.wait_for(told.get(), 20) == "told"
    leave()


async def test_many_changes_are_told_as_one_and_a_client_that_does_not_take_it_holds_nobody_up() -> None:
    offered, never, told = {"a": 1}, asyncio.Event(), asyncio.Queue[str]()
    heard: list[str] = []

    async def look(caller: Caller) -> dict[str, int]:
        return dict(offered)

    async def slow() -> None:
        heard.append("slow")
        await never.wait()

    async def quick() -> None:
        told.put_nowait("quick")

    made = News(look)
    made.shown(ANN, {"a": 0})
    leaves = [made.listen(ANN, slow), made.listen(ANN, quick)]
    await told.get()
    for number in range(50):
        offered["a"] = 2 + number
    await told.get()
    for leave in leaves:
        leave()
        leave()

    assert told.empty()
    assert heard == ["slow"]
    made.stop()


async def test_one_who_cannot_be_looked_for_keeps_no_news_from_others_and_has_his_own_later() -> None:
    broken, told = True, asyncio.Queue[str]()
    offered = {"a": 1}

    async def look(caller: Caller) -> dict[str, int]:
        if broken and caller.name == "ann":
            raise OSError("the file is being written")
        return dict(offered)

    async def tell(name: str) -> None:
        told.put_nowait(name)

    made = News(look)
    for caller in (ANN, BOB):
        made.shown(caller, {})
        made.listen(caller, lambda name=caller.name: tell(name))  # type: ignore[misc]

    assert await told.get() == "bob"
    broken = False
    assert await told.get() == "ann"
    made.stop()


async def test_nothing_is_looked_at_while_nobody_listens() -> None:
    looks: list[str] = []
    looked = asyncio.Event()

    async def look(caller: Caller) -> dict[str, int]:
        looks.append(caller.name)
        looked.set()
        return {}

    made = News(look)
    made.shown(ANN, {})
    await asyncio.sleep(0.1)
    assert looks == []
    leave = made.listen(ANN, lambda: asyncio.sleep(0))
    await looked.wait()
    leave()
    await asyncio.sleep(0.05)
    seen = len(looks)
    await asyncio.sleep(0.1)

    assert len(looks) == seen
