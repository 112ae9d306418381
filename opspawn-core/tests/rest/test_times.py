"""Times have one form in all JSON: UTC with microseconds and a Z, so that they compare as texts."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner

from opspawn.cli import main
from opspawn.contracts.events import Event
from opspawn.contracts.store import Query
from opspawn.host import Host

LOOKS_LIKE_ONE = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
ONE_FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")

COMMANDS = """
tasks list; tasks show {nap}; tasks show {pays}; tasks why {nap}; why {asks}; tasks trace {asks}; tasks dead
tasks journal {nap}; tasks journal {paused}; tasks show {paused}; agents list; agents show echo; agents show far
agents state far; agents history far; sessions list; sessions show {session}; questions list; workers; logs; doctor
schedules list; schedules show nightly
questions show {question}; approvals list; approvals show {approval}; store info; workflows list
"""


def times(told: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Every text that looks like a time, with its place."""
    if isinstance(told, dict):
        for name, value in told.items():
            yield from times(value, f"{where}/{name}")
    elif isinstance(told, list):
        for value in told:
            yield from times(value, where)
    elif isinstance(told, str) and LOOKS_LIKE_ONE.match(told):
        yield where, told


@pytest.fixture
async def ids(host: Host) -> dict[str, str]:
    """A host in which something of every kind has happened, and the ids of it."""
    nap, asks, pays, paused = [await host.submit(f"function/{name}") for name in ("nap", "asks", "pays", "nap")]
    waiting: set[str] = set()
    async for event in host.tail(0):
        if isinstance(event, Event) and event.type == "task.waiting":
            waiting.add(event.task or "")
        if {nap.id, asks.id, pays.id, paused.id} <= waiting:
            break
    await host.pause(paused.id)
    await host.registry.register("far", name="Far", contact_endpoint="https://example.org")
    await host.set_state("far", "idle", None, "2020-01-31T09:30:00+01:00")
    await host.set_state("far", "active", {"why": "work"})
    await host.registry.set_state("far", "paused", None)
    await host.schedule("nightly", "agent/echo", "hi", cron="0 3 * * *")
    session = await host.sessions.start_session("echo")
    await host.sessions.update_session("echo", session.id, {"status": "completed"})
    (approval,) = (await host.approvals(Query())).items
    (question,) = [one for one in (await host.questions(Query())).items if one.question.kind == "question"]
    return {
        "nap": nap.id,
        "asks": asks.id,
        "pays": pays.id,
        "paused": paused.id,
        "session": session.id,
        "approval": approval.id,
        "question": question.id,
    }


async def test_every_time_that_the_api_tells_has_one_form(
    host: Host, client: httpx2.AsyncClient, ids: dict[str, str]
) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    asked = {"agentId": ["far", "echo"], "sessionId": [ids["session"]], "workflowId": [], "name": ["nightly"]}
    seen: list[tuple[str, str]] = []
    for path, methods in paths.items():
        if "get" not in methods or "text/event-stream" in methods["get"]["responses"]["200"].get("content", ()):
            continue
        if path.startswith("/v1/memory/"):
            continue  # asked for with its namespace, below
        names = re.findall(r"\{(\w+)\}", path)
        kind = next((name for name in ("approvals", "questions", "agents") if f"/{name}/" in path), "tasks")
        own = {"approvals": ["approval"], "questions": ["question"], "agents": []}.get(kind, ["nap", "asks", "paused"])
        values = asked.get(names[0], [ids[one] for one in own]) if names else [""]
        for value in values:
            answer = await client.get(path.replace(f"{{{names[0]}}}", value) if names else path)
            assert answer.status_code == 200, (path, answer.text)
            seen += times(answer.json(), path)
    kept = {"items": [{"id": "m1", "namespace": ["app"], "text": "Tea, not coffee."}]}
    for answer in (
        await client.post("/v1/memory/items", json=kept),
        await client.get("/v1/memory/items"),
        await client.get("/v1/memory/items/m1", params={"namespace": "app"}),
    ):
        assert answer.is_success, answer.text
        remembered = list(times(answer.json(), "/v1/memory"))
        assert remembered
        seen += remembered
    assert [one for one in seen if not ONE_FORM.fullmatch(one[1])] == []
    assert len(seen) > 40


async def test_every_time_that_a_command_prints_as_json_has_one_form(host: Host, ids: dict[str, str]) -> None:
    file = host.loaded.folder / "opspawn.toml"
    file.write_text("")
    count = 0
    for command in (one.strip() for line in COMMANDS.strip().splitlines() for one in line.split(";")):
        words = ["--config", str(file), *command.format(**ids).split(), "--json"]
        done = await asyncio.to_thread(CliRunner().invoke, main, words)
        by_line = command.startswith(("logs", "tasks journal"))
        told = [json.loads(line) for line in done.stdout.splitlines()] if by_line else json.loads(done.stdout)
        found = list(times(told))
        assert [(command, *one) for one in found if not ONE_FORM.fullmatch(one[1])] == []
        count += len(found)
    assert count > 40
