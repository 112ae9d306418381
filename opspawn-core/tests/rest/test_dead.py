"""Failed tasks over HTTP: their list, their retries, one by one and together, and their fallback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from opspawn import Agent, App
from opspawn.config import load_settings
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.run import AgentContext, RunContext
from opspawn.errors import ToolError
from opspawn.host import Host
from opspawn.testing import ScriptedModel

WORLD = {"mended": False}


class Breaks:
    """Fails until the world is mended."""

    async def run(self, context: AgentContext) -> PlannerResult:
        if not WORLD["mended"]:
            raise ToolError("the world is broken", error_type=str(context.input))
        return PlannerResult("mended")


async def backup(context: RunContext) -> Any:
    return context.input["error"]["message"]


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    WORLD["mended"] = False
    loaded = load_settings(cwd=tmp_path, overrides={"plugins.rest.port": 0, "worker.poll_s": 0.05})
    app = App(
        agents=[Agent("frail", model=ScriptedModel([]), planner=Breaks())],
        functions={"backup": backup},
    )
    async with Host.open(app, loaded=loaded, transports=True) as running:
        yield running


async def fail(client: httpx2.AsyncClient, kind: str = "timeout", **more: Any) -> dict[str, Any]:
    answer = await client.post("/v1/agents/frail/run", json={"input": kind, "waitS": 20, **more})
    assert answer.status_code == 200, answer.text
    task: dict[str, Any] = answer.json()
    return task


async def dead(client: httpx2.AsyncClient, **query: str) -> list[str]:
    answer = await client.get("/v1/opscore/tasks", params={"dead": "true", **query})
    assert answer.status_code == 200, answer.text
    return [task["id"] for task in answer.json()["tasks"]]


async def test_the_dead_are_listed_until_they_are_retried(client: httpx2.AsyncClient) -> None:
    first, second = await fail(client), await fail(client, "denied")
    everything = [await dead(client), await dead(client, errorType="denied"), await dead(client, handler="agent/other")]
    answer = await client.post(f"/v1/opscore/tasks/{first['id']}/retry")

    assert everything == [[second["id"], first["id"]], [second["id"]], []]
    assert (answer.status_code, answer.json()["retryOf"]) == (202, first["id"])
    assert first["id"] not in await dead(client)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [({"dead": "true", "state": "queued"}, "query/state"), ({"errorType": "timeout"}, "query/errorType")],
)
async def test_filters_that_would_be_left_out_are_refused(
    client: httpx2.AsyncClient, query: dict[str, str], pointer: str
) -> None:
    answer = await client.get("/v1/opscore/tasks", params=query)

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


async def test_all_that_match_are_retried_at_once_within_a_limit(client: httpx2.AsyncClient) -> None:
    tasks = [await fail(client) for _ in range(3)]
    await fail(client, "denied")
    WORLD["mended"] = True
    asked = {"errorType": "timeout", "limit": 2, "endedAfter": tasks[0]["ended"]}
    some = (await client.post("/v1/opscore/tasks/retry", json=asked)).json()
    rest = (await client.post("/v1/opscore/tasks/retry", json=asked)).json()
    none = (await client.post("/v1/opscore/tasks/retry", json=asked)).json()

    assert [len(answer["tasks"]) for answer in (some, rest, none)] == [2, 1, 0]
    assert (some["more"], rest["more"]) == (True, False)
    assert {task["retryOf"] for task in (*some["tasks"], *rest["tasks"])} == {task["id"] for task in tasks}
    wrong = await client.post("/v1/opscore/tasks/retry", json={"limit": 0})
    assert wrong.status_code == 422


async def test_an_empty_body_brings_nobody_back(client: httpx2.AsyncClient) -> None:
    """All of the dead are meant only where that is said."""
    task = await fail(client)
    refused = [await client.post("/v1/opscore/tasks/retry", json=body) for body in ({}, {"all": False, "limit": 5})]
    untouched = await dead(client)
    told = await client.post("/v1/opscore/tasks/retry", json={"all": True})

    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(422, "invalid-input")] * 2
    assert "No filter says which of the dead" in refused[0].json()["detail"]
    assert untouched == [task["id"]]
    assert [one["retryOf"] for one in told.json()["tasks"]] == [task["id"]]


async def test_a_retry_takes_a_key_and_its_ways(client: httpx2.AsyncClient) -> None:
    task = await fail(client)
    path, headers = f"/v1/opscore/tasks/{task['id']}/retry", {"Idempotency-Key": "once"}
    body = {"fromScratch": True, "retryCount": 0}
    answers = [(await client.post(path, json=body, headers=headers)).json()["id"] for _ in range(2)]
    other = await client.post(path, json={}, headers=headers)

    assert answers[0] == answers[1]
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-mismatch")


async def test_a_run_names_its_retries_and_its_fallback(client: httpx2.AsyncClient) -> None:
    retry = {"attempts": 2, "initialS": 0, "when": ["timeout"]}
    task = await fail(client, retry=retry, fallback="function/backup")
    unknown = await client.post("/v1/agents/frail/run", json={"input": "x", "fallback": "function/nobody"})
    wrong = await client.post("/v1/agents/frail/run", json={"input": "x", "retry": {"attempts": 0}})

    assert (task["state"], task["result"], task["failures"]) == ("succeeded", "the world is broken", 2)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not-found")
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "body/retry/attempts")


async def test_another_handler_is_asked_about_a_dead_task_once(client: httpx2.AsyncClient) -> None:
    task = await fail(client)
    path = f"/v1/opscore/tasks/{task['id']}/fallback"
    unnamed = await client.post(path)
    answers = [await client.post(path, json={"handler": "function/backup"}) for _ in range(2)]

    assert (unnamed.status_code, unnamed.json()["remedy"]) == (422, "Name a handler, e.g. agent/backup.")
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["id"] == answers[1].json()["id"]


async def test_what_the_app_no_longer_has_cannot_be_retried(client: httpx2.AsyncClient, host: Host) -> None:
    task = await fail(client)
    del host.app.agents["frail"]

    answer = await client.post(f"/v1/opscore/tasks/{task['id']}/retry")

    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert "frail" in answer.json()["detail"]
