"""Servers that ask people in the middle of a call: a durable question of the run that calls."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from opspawn import App
from opspawn.config import load_settings
from opspawn.contracts.store import Query
from opspawn.contracts.tool import ToolContext
from opspawn.host import Host
from opspawn_mcp.asking import schema_of
from opspawn_mcp.faults import ServerFault
from opspawn_mcp.fleet import Fleet

from ._hosts import asked_by
from ._plain import config_of
from ._served import MODES

SCRIPT = Path(__file__).parent / "servers" / "asks.py"
CALL = {"tool": "asks__greet", "source": "mcp:asks/*"}
PATIENCE_S = 30.0
both = pytest.mark.parametrize("mode", MODES)


def table(mode: str, **more: Any) -> dict[str, Any]:
    started = {"command": sys.executable, "args": [str(SCRIPT)], "mode": mode}
    return {**started, "pin": "off", "ask_people": True, "effects": {"*": "idempotent"}, **more}


@asynccontextmanager
async def running(folder: Path, mode: str, **more: Any) -> AsyncIterator[Host]:
    overrides = {f"plugins.mcp.servers.asks.{key}": value for key, value in table(mode, **more).items()}
    overrides |= {"worker.poll_s": 0.05, "worker.drain_s": 0.2}
    async with Host.open(App(), loaded=load_settings(cwd=folder, overrides=overrides)) as host:
        yield host


@both
async def test_what_a_server_asks_is_a_question_of_the_run_and_its_time_stands_still(tmp_path: Path, mode: str) -> None:
    async with running(tmp_path, mode, timeout_s=1.0) as host:
        task = await host.submit("tool/call", CALL)
        asked = await asked_by(host)
        await asyncio.sleep(3.2)  # longer than the call might take
        await host.answer(asked.id, {"name": "Ada", "age": 36}, by="ann")
        ended = await host.wait(task.id, PATIENCE_S)

    assert asked.question.text == "The MCP server 'asks' asks: Who are you?"
    assert ended.result == "accept {'name': 'Ada', 'age': 36}"


async def test_people_may_decline_and_what_is_missing_is_asked_for_again(tmp_path: Path) -> None:
    async with running(tmp_path, "auto") as host:
        task = await host.submit("tool/call", CALL)
        first = await asked_by(host)
        await host.answer(first.id, {"age": 36})
        second = await asked_by(host)
        await host.answer(second.id, {"decline": True})
        ended = await host.wait(task.id, PATIENCE_S)

    assert "name must be given" in second.question.text
    assert ended.result == "decline None"


@both
async def test_a_question_and_its_answer_survive_the_process(tmp_path: Path, mode: str) -> None:
    async with running(tmp_path, mode) as host:
        task = await host.submit("tool/call", CALL)
        asked = await asked_by(host)
    async with running(tmp_path, mode) as host:
        await host.answer(asked.id, {"name": "Ada"})
        ended = await host.wait(task.id, PATIENCE_S)
        questions = (await host.questions(Query(limit=5))).items

    assert ended.result == "accept {'name': 'Ada'}"
    assert [one.id for one in questions] == [asked.id]


async def test_where_nobody_can_be_asked_the_call_fails_and_says_so(tmp_path: Path) -> None:
    fleet = Fleet(config_of(tmp_path, {"asks": table("auto")}))
    try:
        with pytest.raises(ServerFault, match="Nobody can be asked"):
            await fleet.member("asks").tool("greet").call({}, ToolContext("", "helper"))
    finally:
        await fleet.aclose()


def test_the_choices_of_a_form_with_titles_are_kept() -> None:
    titled = {"type": "string", "oneOf": [{"const": "a", "title": "A"}, {"const": "b", "title": "B"}]}

    schema = schema_of({"properties": {"which": titled, "odd": {"type": "string", "x-unknown": 1}}})

    assert schema["properties"]["which"]["enum"] == ["a", "b"]
    assert schema["properties"]["odd"] == {"type": "string"}
