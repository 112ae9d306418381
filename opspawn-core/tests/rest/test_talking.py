"""Signals, questions, pause and resume, dispatch with its options: over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

TASKS = "/v1/opscore/tasks"
QUESTIONS = "/v1/opscore/questions"


async def reaches(client: httpx2.AsyncClient, id: str, holds: Callable[[Any], bool]) -> Any:
    """A task once something holds of it."""
    for _ in range(1500):
        task = (await client.get(f"{TASKS}/{id}")).json()
        if holds(task):
            return task
        await asyncio.sleep(0.02)
    raise AssertionError(f"it stays {task}")


async def begun(client: httpx2.AsyncClient, handler: str) -> str:
    """A task once it waits."""
    id = (await client.post(TASKS, json={"handler": handler})).json()["id"]
    await reaches(client, id, lambda task: bool(task["state"] == "waiting"))
    return str(id)


async def ended(client: httpx2.AsyncClient, id: str) -> Any:
    """A task once it has ended."""
    return await reaches(client, id, lambda task: task["ended"] is not None)


async def test_any_handler_is_dispatched_with_its_options_and_found_by_its_labels(client: httpx2.AsyncClient) -> None:
    options = {"labels": {"team": "red"}, "deadlineS": 60, "priority": 2, "strict": True, "idleTimeoutS": 30}
    body = {"handler": "agent/echo", "input": "hi", "waitS": 30, **options}
    answer = await client.post(TASKS, json=body, headers={"Idempotency-Key": "k"})
    again = await client.post(TASKS, json=body, headers={"Idempotency-Key": "k"})
    found = (await client.get(TASKS, params={"label": ["team=red"]})).json()["tasks"]
    none = (await client.get(TASKS, params={"label": ["team=red", "tier=1"]})).json()["tasks"]

    task = answer.json()
    assert (answer.status_code, task["result"], task["strict"]) == (200, "hi", True)
    assert task["deadline"] is not None
    assert again.json()["id"] == task["id"]
    assert [one["id"] for one in found] == [task["id"]]
    assert none == []


@pytest.mark.parametrize("how", ["id", "header"])
async def test_a_signal_is_sent_and_counts_once(client: httpx2.AsyncClient, how: str) -> None:
    id = await begun(client, "function/listen")
    for n in (1, 1, 2):
        body = {"name": "go", "data": n, "by": "ada"} | ({"id": f"s{n}"} if how == "id" else {})
        headers = {"Idempotency-Key": f"s{n}"} if how == "header" else {}
        answer = await client.post(f"{TASKS}/{id}/signals", json=body, headers=headers)
        assert (answer.status_code, answer.json()["id"]) == (202, id)

    assert (await ended(client, id))["result"] == [1, 2]
    late = await client.post(f"{TASKS}/{id}/signals", json={"name": "go"})
    assert (late.status_code, late.json()["code"]) == (409, "invalid-transition")


async def test_a_question_is_listed_answered_once_and_then_gone(client: httpx2.AsyncClient) -> None:
    id = await begun(client, "function/asks")
    listed = (await client.get(QUESTIONS, params={"root": id, "to": "ada", "kind": "question"})).json()
    [question] = listed["questions"]
    wrong = await client.post(f"{QUESTIONS}/{question['id']}/answer", json={"value": "maybe"})
    first = await client.post(f"{QUESTIONS}/{question['id']}/answer", json={"value": "yes", "by": "ada"})
    second = await client.post(f"{QUESTIONS}/{question['id']}/answer", json={"value": "no", "by": "bob"})
    unknown = await client.get(f"{QUESTIONS}/q-none")

    assert (question["text"], question["choices"], question["state"]) == ("Ship it?", ["yes", "no"], "open")
    assert (question["task"], question["root"], question["expires"]) == (id, id, None)
    assert (wrong.status_code, wrong.json()["remedy"]) == (422, "Choose one of: 'yes', 'no'.")
    assert (first.status_code, first.json()["answeredBy"]) == (200, "ada")
    assert (second.status_code, "answered by ada already" in second.json()["detail"]) == (409, True)
    assert unknown.status_code == 404
    assert (await ended(client, id))["result"] == "yes"
    assert (await client.get(QUESTIONS)).json() == {"questions": [], "cursor": None}
    answered = (await client.get(f"{QUESTIONS}?state=any")).json()["questions"]
    assert [one["answer"] for one in answered] == ["yes"]


async def test_a_task_is_paused_and_resumed(client: httpx2.AsyncClient) -> None:
    id = await begun(client, "function/listen")
    paused = await client.post(f"{TASKS}/{id}/pause", json={"by": "ada"})
    resumed = await client.post(f"{TASKS}/{id}/resume")
    again = await client.post(f"{TASKS}/{id}/resume")

    assert (paused.status_code, paused.json()["state"]) == (202, "paused")
    assert paused.json()["error"]["message"] == "ada paused it."
    assert (resumed.status_code, resumed.json()["state"]) in {(202, "queued"), (202, "running"), (202, "waiting")}
    assert (again.status_code, again.json()["code"]) == (409, "invalid-transition")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (TASKS, {"handler": "agent/echo", "deadlineS": 0}),
        (TASKS, {"handler": "agent/echo", "strict": "yes"}),
        (TASKS, {"handler": "agent/echo", "delayS": 60, "deadlineS": 30}),
        (f"{TASKS}/t-1/signals", {"name": ""}),
        (f"{TASKS}/t-1/signals", {"nam": "go"}),
        (f"{QUESTIONS}/q-1/answer", {"by": "ada"}),
    ],
)
async def test_a_request_that_does_not_fit_is_refused(client: httpx2.AsyncClient, path: str, body: Any) -> None:
    assert (await client.post(path, json=body)).status_code == 422


async def test_a_label_that_is_none_is_refused(client: httpx2.AsyncClient) -> None:
    answer = await client.get(TASKS, params={"label": "red"})

    assert answer.status_code == 422
    assert "'red' is not NAME=VALUE" in answer.text


async def test_a_call_that_needs_an_approval_is_shown_approved_and_denied(client: httpx2.AsyncClient) -> None:
    approvals = "/v1/opscore/approvals"
    results = []
    bodies = {"approve": {"by": "ada", "arguments": {"amount": 3}}, "deny": {"by": "ada", "reason": "No."}}
    for verb, body in bodies.items():
        task = await begun(client, "function/pays")
        [asked] = (await client.get(approvals, params={"root": task})).json()["approvals"]
        shown = (await client.get(f"{approvals}/{asked['id']}")).json()
        answer = await client.post(f"{approvals}/{asked['id']}/{verb}", json=body)
        again = await client.post(f"{approvals}/{asked['id']}/{verb}", json=body)
        results.append((await ended(client, task))["result"])

        assert shown["call"]["arguments"] == {"amount": 5}
        assert (answer.status_code, answer.json()["answeredBy"], again.status_code) == (200, "ada", 409)
    assert results == ["paid 3", None]
    none = await client.get(f"{approvals}/q-0")
    assert none.status_code == 404
    assert none.json()["detail"] == "There is no approval 'q-0'."
