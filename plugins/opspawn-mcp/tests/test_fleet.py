"""A fleet of servers: each has its own connection, its own fate, and nobody waits for another's."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opspawn.contracts.tool import ToolContext
from opspawn.errors import ConfigError, ToolError
from opspawn_mcp.faults import ServerFault
from opspawn_mcp.fleet import Fleet

from ._plain import Plain

NOBODY = ToolContext("", "helper")
MakeFleet = Callable[..., Fleet]
MakePlain = Callable[..., Plain]


async def call(fleet: Fleet, server: str, tool: str, arguments: dict[str, Any] | None = None) -> Any:
    return await fleet.member(server).tool(tool).call(arguments or {}, NOBODY)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(what: Callable[[], Any], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.02)


async def test_nothing_is_started_before_a_tool_is_asked_for(fleet_of: MakeFleet, plain: MakePlain) -> None:
    server = plain()
    fleet_of(server, pin="off")

    await asyncio.sleep(0.1)

    assert server.asked == []


async def test_a_call_connects_lists_and_gives_what_the_server_says(fleet_of: MakeFleet, plain: MakePlain) -> None:
    server = plain()
    fleet = fleet_of(server, pin="off")

    said = await call(fleet, "plain", "echo", {"a": 1})

    assert json.loads(said) == {"a": 1}
    assert [line.split()[0] for line in server.asked[:2]] == ["start", "list"]


async def test_servers_connect_beside_each_other_and_a_bad_one_delays_nobody(
    fleet_of: MakeFleet, plain: MakePlain
) -> None:
    good, silent, dead = plain("good"), plain("silent", start="silent"), plain("dead", start="die")
    fleet = fleet_of(good, silent, dead, pin="off")
    waiting = [asyncio.ensure_future(fleet.member(name).server.ready()) for name in ("silent", "dead")]

    await call(fleet, "good", "echo")

    assert fleet.member("silent").server.state == "connecting"
    with pytest.raises(ServerFault, match=r"MCP server dead: it ended with exit code 1 .*cannot open the database"):
        await waiting[1]
    waiting[0].cancel()


async def test_a_silent_server_is_given_up_after_its_deadline(fleet_of: MakeFleet, plain: MakePlain) -> None:
    fleet = fleet_of(plain(start="silent"), pin="off", connect_timeout_s=0.5)

    with pytest.raises(ServerFault, match=r"it did not answer within 0\.5 s \(connect_timeout_s\)"):
        await fleet.member("plain").server.ready()


async def test_a_server_that_keeps_failing_is_tried_again_later_and_says_so_at_once(
    fleet_of: MakeFleet, plain: MakePlain
) -> None:
    fleet = fleet_of(plain(start="die"), pin="off")
    server = fleet.member("plain").server
    for _ in range(3):
        with pytest.raises(ServerFault):
            await server.ready()

    await asyncio.gather(*(server.ready() for _ in range(3)), return_exceptions=True)

    with pytest.raises(ServerFault, match=r"it is tried again in \d+ s"):
        await server.ready()


async def test_a_server_that_died_is_started_anew_for_the_next_call(fleet_of: MakeFleet, plain: MakePlain) -> None:
    server = plain()
    fleet = fleet_of(server, pin="off")
    await call(fleet, "plain", "echo")
    os.kill(int(server.asked[0].split()[1]), signal.SIGKILL)
    await until(lambda: fleet.member("plain").server.state == "failed")

    said = await call(fleet, "plain", "echo", {"again": True})

    assert json.loads(said) == {"again": True}
    assert fleet.member("plain").server.connects == 2


async def test_all_pages_of_tools_are_asked_for(fleet_of: MakeFleet, plain: MakePlain) -> None:
    fleet = fleet_of(plain(tools=[f"t{number}" for number in range(7)], page=2), pin="off")

    await fleet.connect(["plain"])

    assert fleet.member("plain").names() == [f"t{number}" for number in range(7)]


async def test_changed_tools_are_asked_for_once_however_often_it_is_announced(
    fleet_of: MakeFleet, plain: MakePlain
) -> None:
    server = plain(announce=True)
    fleet = fleet_of(server, pin="off")
    await fleet.connect(["plain"])
    server.change(announce=True, tools=["echo", "second"])

    await asyncio.gather(*(call(fleet, "plain", "echo", {"n": number}) for number in range(5)))
    await until(lambda: fleet.member("plain").names() == ["echo", "second"])

    assert server.asked.count("list") == 2


async def test_a_call_that_is_cancelled_is_cancelled_at_the_server(fleet_of: MakeFleet, plain: MakePlain) -> None:
    server = plain(call="silent")
    fleet = fleet_of(server, pin="off")
    await fleet.connect(["plain"])
    calling = asyncio.ensure_future(call(fleet, "plain", "echo"))
    await until(server.calls)

    calling.cancel()

    await until(lambda: "cancelled" in server.asked)


async def test_a_call_has_its_deadline(fleet_of: MakeFleet, plain: MakePlain) -> None:
    fleet = fleet_of(plain(call="silent"), pin="off", timeout_s=0.3)
    await fleet.connect(["plain"])

    with pytest.raises(ServerFault, match=r"plain/echo: it did not answer within 0\.3 s") as raised:
        await call(fleet, "plain", "echo")

    assert raised.value.error_type == "timeout"
    assert "Whether the call was carried out is not known" in str(raised.value)


async def test_closing_ends_the_server_and_all_that_it_started(fleet_of: MakeFleet, plain: MakePlain) -> None:
    server = plain(child=True, end="stays")
    fleet = fleet_of(server, pin="off")
    await fleet.connect(["plain"])
    pids = [int(line.split()[1]) for line in server.asked if line.startswith(("start", "child"))]

    await fleet.aclose()

    assert len(pids) == 2
    assert not [pid for pid in pids if is_alive(pid)]


async def test_a_server_gets_the_environment_that_it_is_given_and_no_secrets_of_ours(
    fleet_of: MakeFleet, plain: MakePlain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    fleet = fleet_of(plain(tools=["environment"]), pin="off", env={"MODE": "test"})

    environment = json.loads(await call(fleet, "plain", "environment"))

    assert environment["MODE"] == "test"
    assert "OPENAI_API_KEY" not in environment


async def test_calls_above_the_limit_are_told_when_to_come_back(fleet_of: MakeFleet, plain: MakePlain) -> None:
    fleet = fleet_of(plain(), pin="off", calls_per_minute=2)
    for _ in range(2):
        await call(fleet, "plain", "echo")

    with pytest.raises(ToolError, match="2 calls a minute are allowed") as raised:
        await call(fleet, "plain", "echo")

    assert raised.value.error_type == "rate_limited"
    assert 0 < (raised.value.retry_after_s or 0) <= 60


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"command": "no-such-program"}, "servers.x.command: there is no program 'no-such-program'"),
        ({"command": "true", "cwd": "nowhere"}, "servers.x.cwd: there is no folder"),
        (
            {"command": "true", "rules": [{"decision": "ask", "arguments": {"a": {"glo": "b"}}}]},
            "Rule 1 of plugins.mcp",
        ),
    ],
)
async def test_what_cannot_work_is_told_before_anything_is_started(
    fleet_of: MakeFleet, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        fleet_of(others={"x": settings})

    assert words in str(raised.value)
