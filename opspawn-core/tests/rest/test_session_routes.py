"""Sessions, stored workflows and traces over HTTP."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

AGENT = "/v1/opscore/agent/echo/sessions"
PATIENCE_S = 30.0
FLOW = {
    "opspawn": "1",
    "name": "greet",
    "inputs": {"who": {"type": "string"}},
    "steps": {"say": {"uses": "agent/echo", "with": {"input": "${{ inputs.who }}"}}},
    "output": "${{ steps.say.output }}",
}


async def start(client: httpx2.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await client.post(AGENT, json=body)
    assert answer.status_code == 201
    made: dict[str, Any] = answer.json()
    return made


async def test_a_session_is_started_followed_and_closed(client: httpx2.AsyncClient) -> None:
    session = await start(client, workflowId="greet", metadata={"a": 1})
    id = session["sessionId"]
    assert (session["status"], session["agentId"], session["workflowId"]) == ("waiting", "echo", "greet")
    assert (await client.get(f"/v1/opscore/sessions/{id}")).json() == session

    body = {"input": "hi", "sessionId": id, "waitS": PATIENCE_S}
    await client.post("/v1/agents/echo/run", json=body)
    done = (await client.get(f"/v1/opscore/sessions/{id}")).json()
    assert (done["status"], done["result"]) == ("completed", "hi")

    changes = {"status": "completed", "metadata": {"a": None, "b": 2}}
    closed = (await client.patch(f"{AGENT}/{id}", json=changes)).json()
    assert (closed["metadata"], closed["status"]) == ({"b": 2}, "completed")
    assert closed["endTime"] is not None
    refused = await client.post("/v1/agents/echo/run", json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "invalid-transition")


async def test_sessions_are_found_by_agent_and_status(client: httpx2.AsyncClient) -> None:
    one, two = await start(client), await start(client)
    await client.patch(f"{AGENT}/{one['sessionId']}", json={"status": "error", "error": {"message": "no"}})

    async def ids(**query: str) -> list[str]:
        found = (await client.get("/v1/opscore/sessions", params=query)).json()["sessions"]
        return [session["sessionId"] for session in found]

    assert await ids(agent="echo") == [two["sessionId"], one["sessionId"]]
    assert await ids(status="error") == [one["sessionId"]]
    assert await ids(agent="talk") == []


async def test_a_start_that_is_sent_again_is_one_session(client: httpx2.AsyncClient) -> None:
    key = {"Idempotency-Key": "k1"}
    ids = [(await client.post(AGENT, json={"metadata": {"a": 1}}, headers=key)).json()["sessionId"] for _ in range(2)]
    other = await client.post(AGENT, json={"metadata": {"a": 2}}, headers=key)

    assert ids[0] == ids[1]
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-mismatch")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"status": "banana"}, 422, "invalid-input"),
        ({"endTime": "2026-01-01T00:00:00Z"}, 422, "invalid-request"),
        ({"metadata": {}, "version": 7}, 409, "conflict"),
    ],
)
async def test_a_change_that_does_not_do_is_a_problem(
    client: httpx2.AsyncClient, changes: Any, status: int, code: str
) -> None:
    session = await start(client)
    answer = await client.patch(f"{AGENT}/{session['sessionId']}", json=changes)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_another_agents_session_is_not_found(client: httpx2.AsyncClient) -> None:
    session = await start(client)

    path = f"/v1/opscore/agent/talk/sessions/{session['sessionId']}"
    assert (await client.patch(path, json={"status": "completed"})).status_code == 404
    assert (await client.post("/v1/opscore/agent/nobody/sessions", json={})).status_code == 404


async def test_a_workflow_is_stored_shown_and_triggered_by_its_id(client: httpx2.AsyncClient) -> None:
    made = await client.post("/v1/opscore/workflows", json={"workflowDefinition": FLOW})
    assert (made.status_code, made.headers["location"]) == (201, "/v1/opscore/workflows/greet")
    assert (await client.get("/v1/opscore/workflows/greet")).json() == made.json()
    assert (await client.get("/v1/opscore/workflows")).json()["workflows"] == ["greet"]

    body = {"workflowDefinitionId": "greet", "initialPayload": {"who": "Ada"}}
    started = (await client.post("/v1/opscore/agent/echo/workflow", json=body)).json()
    task = (await client.get(f"/v1/opscore/tasks/{started['taskId']}")).json()
    assert task["handler"] == "workflow/greet"
    session = (await client.get(f"/v1/opscore/sessions/{started['sessionId']}")).json()
    assert (session["agentId"], session["workflowId"]) == ("echo", "greet")


async def test_a_workflow_that_does_not_do_is_not_stored(client: httpx2.AsyncClient) -> None:
    wrong = {**FLOW, "steps": {"say": {"uses": "agent/nobody"}}}
    answer = await client.post("/v1/opscore/workflows", json={"workflowDefinition": wrong})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")
    assert (await client.get("/v1/opscore/workflows/greet")).status_code == 404


async def test_a_trace_is_the_tree_of_a_task(client: httpx2.AsyncClient) -> None:
    task = (await client.post("/v1/agents/talk/run", json={"input": "hi", "waitS": PATIENCE_S})).json()
    trace = (await client.get(f"/v1/opscore/tasks/{task['id']}/trace")).json()

    assert (trace["task"], trace["whole"], trace["root"]["ok"]) == (task["id"], True, True)
    kinds = [span["kind"] for span in trace["root"]["children"]]
    assert kinds[:2] == ["queued", "run"]
    assert trace["root"]["children"][1]["children"][0]["name"] == "think"
