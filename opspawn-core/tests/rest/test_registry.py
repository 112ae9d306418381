"""Agents over HTTP: registration, states, tasks and reports, and the webhook of agentkit."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from loguru import logger

from opspawn import App
from opspawn.config import load_settings
from opspawn.host import Host
from opspawn.ops.agents.signing import signed

AGENT = {"agentId": "worker-1", "agentName": "Worker", "contactEndpoint": "https://agents.example/task"}
SECRET = "s3cret"
PATIENCE_S = 30.0


async def register(client: httpx2.AsyncClient, **more: Any) -> httpx2.Response:
    return await client.post("/v1/opscore/agents", json={**AGENT, **more})


async def test_an_agent_is_registered_listed_shown_and_forgotten(client: httpx2.AsyncClient) -> None:
    made = await register(client, version="1", capabilities=["bake"], metadata={"a": 1}, concurrency=2)
    assert (made.status_code, made.headers["location"]) == (201, "/v1/opscore/agent/worker-1")
    shown = (await client.get("/v1/opscore/agent/worker-1")).json()
    assert shown == made.json()
    assert (shown["local"], shown["capabilities"], shown["concurrency"]) == (False, ["bake"], 2)

    listed = (await client.get("/v1/opscore/agents", params={"capability": "bake"})).json()["agents"]
    assert [(one["agentId"], one["state"]) for one in listed] == [("worker-1", "unknown")]
    everybody = (await client.get("/v1/opscore/agents")).json()["agents"]
    assert {one["agentId"]: one["local"] for one in everybody} == {"worker-1": False, "echo": True, "talk": True}

    assert (await client.delete("/v1/opscore/agent/worker-1")).status_code == 204
    assert (await client.get("/v1/opscore/agent/worker-1")).status_code == 404
    history = (await client.get("/v1/opscore/agent/worker-1/history")).json()["events"]
    assert [event["type"] for event in history] == ["agent.registered", "agent.deregistered"]


async def test_a_registration_without_an_id_may_be_sent_again(client: httpx2.AsyncClient) -> None:
    body = {name: value for name, value in AGENT.items() if name != "agentId"}
    key = {"Idempotency-Key": "k1"}
    ids = [(await client.post("/v1/opscore/agents", json=body, headers=key)).json()["agentId"] for _ in range(2)]

    assert ids[0] == ids[1]


async def test_a_state_is_reported_and_read(client: httpx2.AsyncClient) -> None:
    await register(client)
    path = "/v1/opscore/agent/worker-1/state"
    report = {"agentId": "worker-1", "state": "IDLE", "details": {"n": 1}, "timestamp": "2026-01-01T00:00:00Z"}
    answer = await client.post(path, json=report)

    assert answer.status_code == 202
    assert answer.json() == {
        "status": "success",
        "message": "State update accepted",
        "agentId": "worker-1",
        "state": "idle",
        "late": False,
    }
    assert (await client.get(path)).json() == {
        "agentId": "worker-1",
        "state": "idle",
        "details": {"n": 1},
        "timestamp": "2026-01-01T00:00:00.000000Z",
    }
    late = await client.post(path, json={"state": "active", "timestamp": "2025-01-01T00:00:00Z"})
    assert (late.json()["state"], late.json()["late"]) == ("idle", True)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"agentId": "other", "state": "idle"}, 400, "agent-mismatch"),
        ({"state": "banana"}, 422, "invalid-input"),
        ({"state": "finished"}, 409, "invalid-transition"),
        ({"state": "idle", "timestamp": "yesterday"}, 422, "invalid-input"),
        ({"state": "idle", "details": []}, 422, "invalid-request"),
        ({"stat": "idle"}, 422, "invalid-request"),
    ],
)
async def test_a_report_that_does_not_do_is_a_problem(
    client: httpx2.AsyncClient, body: Any, status: int, code: str
) -> None:
    await register(client)
    answer = await client.post("/v1/opscore/agent/worker-1/state", json=body)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("method", ["get", "delete"])
async def test_an_agent_that_is_not_there_is_not_found(client: httpx2.AsyncClient, method: str) -> None:
    assert (await client.request(method, "/v1/opscore/agent/nobody")).json()["code"] == "not-found"
    assert (await client.get("/v1/opscore/agent/nobody/state")).status_code == 404
    assert (await client.post("/v1/opscore/agent/nobody/state", json={"state": "idle"})).status_code == 404
    assert (await client.get("/v1/opscore/agent/nobody/history")).status_code == 404


async def test_an_agent_is_paused_and_resumed(client: httpx2.AsyncClient) -> None:
    path = "/v1/opscore/agent/echo"
    await client.post(f"{path}/state", json={"state": "paused", "details": {"reason": "lunch"}})
    task = (await client.post(f"{path}/tasks", json={"input": "hi", "waitS": 0.2})).json()
    assert task["state"] == "queued"

    resumed = await client.post(f"{path}/resume")
    assert (resumed.status_code, resumed.json()["state"] in ("idle", "active")) == (
        202,
        True,
    )  # its task may run by now
    assert (await client.post(f"{path}/resume")).json()["code"] == "invalid-transition"
    done = await client.post(f"{path}/tasks", json={"input": "hi", "waitS": PATIENCE_S})
    assert (done.status_code, done.json()["result"]) == (200, "hi")


async def test_the_result_of_a_remote_task_is_handed_in(client: httpx2.AsyncClient) -> None:
    await register(client)
    task = (await client.post("/v1/opscore/agent/worker-1/tasks", json={"input": {"n": 1}, "delayS": 3600})).json()
    assert task["handler"] == "remote/worker-1"
    path = f"/v1/opscore/tasks/{task['id']}/result"

    assert (await client.post(path, json={"result": 2, "agentId": "worker-2"})).status_code == 404
    assert (await client.post(path, json={"result": 2, "error": {"message": "no"}})).status_code == 422
    assert (await client.post(path, json={"result": 2})).status_code == 202
    mine = (await client.post("/v1/agents/echo/run", json={"input": "hi"})).json()
    refused = await client.post(f"/v1/opscore/tasks/{mine['id']}/result", json={"result": 2})
    assert refused.json()["code"] == "invalid-transition"


# -- the webhook -------------------------------------------------------------------------------------------------------

NOTIFY = "/v1/opscore/internal/agent/notify"


def notification(kind: str = "REGISTER") -> bytes:
    details = {**AGENT, "version": "1.0", "capabilities": ["echo"], "metadata": {}}
    return json.dumps({"event_type": kind, "agent_details": details}).encode()


@pytest.fixture
async def trusting(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a server that has the secret."""
    overrides = {"plugins.rest.port": 0, "agents.webhook_secret": SECRET}
    loaded = load_settings(cwd=tmp_path, environ={}, overrides=overrides)
    async with (
        Host.open(App(), loaded=loaded, transports=True, worker=False) as host,
        httpx2.AsyncClient(base_url=host.transports[0].address, timeout=PATIENCE_S, trust_env=False) as client,
    ):
        yield client


async def notify(client: httpx2.AsyncClient, body: bytes, secret: str = SECRET, when: float | None = None) -> Any:
    headers = {**signed(secret, when or time.time(), body), "Content-Type": "application/json"}
    return await client.post(NOTIFY, content=body, headers=headers)


async def test_agentkit_tells_of_an_agent(trusting: httpx2.AsyncClient) -> None:
    answer = await notify(trusting, notification())

    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "success", "message": "Agent worker-1 is registered."},
    )
    assert (await trusting.get("/v1/opscore/agent/worker-1/state")).json()["state"] == "unknown"
    gone = await notify(trusting, notification("DEREGISTER"))
    assert gone.status_code == 200
    assert (await trusting.get("/v1/opscore/agent/worker-1")).status_code == 404


async def test_a_copy_a_wrong_secret_and_an_old_message_are_refused(trusting: httpx2.AsyncClient) -> None:
    body, now = notification(), time.time()
    assert (await notify(trusting, body, when=now)).status_code == 200

    for answer in (
        await notify(trusting, body, when=now),
        await notify(trusting, body, secret="other"),
        await notify(trusting, body, when=now - 400),
        await trusting.post(NOTIFY, json=json.loads(body)),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "refused")


async def test_without_a_secret_the_webhook_is_closed_in_words(client: httpx2.AsyncClient) -> None:
    answer = await notify(client, notification())

    assert answer.status_code == 403
    assert "OPSPAWN_AGENTS__WEBHOOK_SECRET" in answer.json()["remedy"]


async def test_a_report_that_does_not_follow_is_logged_for_who_does_not_read_the_answer(
    client: httpx2.AsyncClient, host: Host
) -> None:
    said: list[str] = []
    sink = logger.add(lambda message: said.append(message.record["message"]), level="WARNING")
    try:
        await host.registry.register("far", name="Far", contact_endpoint="https://example.org")
        answer = await client.post("/v1/opscore/agent/far/state", json={"state": "finished"})
    finally:
        logger.remove(sink)

    assert answer.status_code == 409
    assert said == ["The agent 'far' is unknown and cannot become finished."]
