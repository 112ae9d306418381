"""What the routes answer when all is well."""

from __future__ import annotations

from typing import Any

import httpx2

from opspawn.host import Host

TASKS = "/v1/opscore/tasks"


async def test_agents_are_listed_by_name_and_shown_one_by_one(client: httpx2.AsyncClient) -> None:
    listed = (await client.get("/v1/agents")).json()["agents"]

    assert [agent["id"] for agent in listed] == ["echo", "talk"]
    assert (await client.get("/v1/agents/echo")).json() == listed[0]
    assert listed[0] == {
        "id": "echo",
        "description": "Says it again.",
        "planner": "Echo",
        "model": "ScriptedModel",
        "tools": [],
    }


async def test_a_run_that_is_not_waited_for_is_accepted_with_its_place(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/agents/echo/run", json={"input": "hi"})

    assert answer.status_code == 202
    assert answer.headers["location"] == f"{TASKS}/{answer.json()['id']}"
    assert (await client.get(answer.headers["location"])).json()["handler"] == "agent/echo"


async def test_the_answer_of_an_agent_says_why_it_ended_and_what_it_used(client: httpx2.AsyncClient) -> None:
    run = (await client.post("/v1/agents/talk/run", json={"input": "hi", "waitS": 30})).json()

    assert run["answered"]["reason"] == "answered"
    assert run["answered"]["usage"]["requests"] >= 1
    assert (await client.get(f"{TASKS}/{run['id']}")).json()["answered"] == run["answered"]


async def test_a_run_that_ends_while_it_is_waited_for_is_answered_with_its_result(
    client: httpx2.AsyncClient, plain_task: dict[str, Any]
) -> None:
    answer = await client.post("/v1/agents/echo/run", json={**plain_task, "sessionId": "s-1", "labels": {"a": "b"}})

    assert answer.status_code == 200
    task = answer.json()
    assert (task["state"], task["result"], task["sessionId"], task["labels"]) == ("succeeded", "hi", "s-1", {"a": "b"})
    assert task["ended"] is not None


async def test_a_run_that_takes_longer_than_it_is_waited_for_is_only_accepted(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/agents/echo/run", json={"input": "hi", "delayS": 3600, "waitS": 0.05})

    assert (answer.status_code, answer.json()["state"]) == (202, "queued")


async def test_any_json_is_an_input_and_comes_back_unchanged(
    client: httpx2.AsyncClient, plain_task: dict[str, Any]
) -> None:
    value = {
        "text": "ünï😀\u2028",
        "deep": [1, 2.5, True, None, {"": "\u0000"}],
        "large": 123456789012345678901234567890,
    }

    answer = await client.post("/v1/agents/echo/run", json={**plain_task, "input": value})

    assert answer.json()["result"] == value


async def test_tasks_come_newest_first_in_pages_that_a_cursor_continues(client: httpx2.AsyncClient) -> None:
    made = [(await client.post("/v1/agents/echo/run", json={"input": n})).json()["id"] for n in range(5)]

    seen, cursor = [], ""
    while cursor is not None:
        query = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        page = (await client.get(TASKS, params=query)).json()
        seen += [task["id"] for task in page["tasks"]]
        cursor = page["cursor"]

    assert seen == made[::-1]


async def test_tasks_are_found_by_what_they_are(client: httpx2.AsyncClient, plain_task: dict[str, Any]) -> None:
    wanted = (await client.post("/v1/agents/echo/run", json={**plain_task, "sessionId": "mine"})).json()["id"]
    await client.post("/v1/agents/talk/run", json=plain_task)

    for query in (
        {"agent": "echo"},
        {"session": "mine"},
        {"handler": "agent/echo", "state": "succeeded"},
        {"root": wanted},
    ):
        found = (await client.get(TASKS, params=query)).json()["tasks"]
        assert [task["id"] for task in found] == [wanted], query


async def test_a_journal_is_read_whole_or_after_a_position(
    client: httpx2.AsyncClient, plain_task: dict[str, Any]
) -> None:
    id = (await client.post("/v1/agents/talk/run", json=plain_task)).json()["id"]

    events = (await client.get(f"{TASKS}/{id}/journal")).json()["events"]
    rest = (await client.get(f"{TASKS}/{id}/journal", params={"after": events[1]["position"]})).json()["events"]

    assert (events[0]["type"], events[-1]["type"]) == ("task.accepted", "task.succeeded")
    assert rest == events[2:]


async def test_a_waiting_task_is_cancelled(client: httpx2.AsyncClient, host: Host) -> None:
    task = await host.submit("function/nap")

    answer = await client.post(f"{TASKS}/{task.id}/cancel")

    assert answer.status_code == 202
    assert (await host.wait(task.id, 30)).state == "cancelled"


async def test_health_and_readiness_differ_once_the_host_stops(client: httpx2.AsyncClient, host: Host) -> None:
    assert (await client.get("/readyz")).status_code == 200

    host.stop()

    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["draining"]) == (503, True)
    assert (await client.get("/healthz")).status_code == 200
