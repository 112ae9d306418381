"""What a task waits for, and which workers there are, over HTTP."""

from __future__ import annotations

from typing import Any

import httpx2

from opspawn.host import Host


async def wait_until_parked(host: Host, id: str) -> None:
    async for event in host.tail(0):
        if getattr(event, "type", None) == "task.waiting" and event.task == id:
            return


async def test_why_says_what_a_task_waits_for(client: httpx2.AsyncClient, host: Host) -> None:
    task = (await client.post("/v1/opscore/tasks", json={"handler": "function/asks"})).json()
    await wait_until_parked(host, task["id"])

    answer = await client.get(f"/v1/opscore/tasks/{task['id']}/why")

    assert answer.status_code == 200
    told: dict[str, Any] = answer.json()
    assert (told["task"], told["handler"], told["state"]) == (task["id"], "function/asks", "waiting")
    [wait] = told["waits"]
    assert (wait["kind"], wait["details"]["to"]) == ("question", "ada")


async def test_why_of_what_is_not_there_is_a_problem(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/v1/opscore/tasks/t-nobody/why")

    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


async def test_the_workers_are_listed(client: httpx2.AsyncClient, host: Host) -> None:
    assert host.worker is not None
    found: list[dict[str, Any]] = []
    while not found:
        found = (await client.get("/v1/opscore/workers")).json()["workers"]

    [worker] = found
    assert (worker["id"], worker["alive"], worker["queues"]) == (host.worker.id, True, ["default"])
    assert "agent/echo" in worker["handlers"]
