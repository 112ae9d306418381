"""An id is what a URL can carry, a key what a header can, a label a name with a text: the same from all doors."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from opspawn.cli.lazy import explain
from opspawn.errors import InvalidInput
from opspawn.host import Host

UNREACHABLE = ["a/b", "/../", "..", ".", "", "a b", "ünï", "a?b", "a#b", "a%2fb", "x" * 201]
REACHABLE = ["a", "order-17", "ann@example.org:3", "a..b", "x" * 200]
BAD_KEYS = ["", " ", "a ", "a\nb", "größe", "x" * 201]


@pytest.mark.parametrize("id", UNREACHABLE)
async def test_an_id_that_no_url_reaches_is_refused_in_the_same_words_by_every_door(
    host: Host, client: httpx2.AsyncClient, id: str
) -> None:
    with pytest.raises(InvalidInput, match=r"^session is .*; an id is 1 to 200 letters") as refused:
        await host.submit("function/nap", session=id)
    answer = await client.post("/v1/opscore/tasks", json={"handler": "function/nap", "sessionId": id})
    words = refused.value.message.removeprefix("session ")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")
    assert answer.json()["detail"] == f"sessionId {words}"
    assert explain(refused.value) == (f"--session {words}", 2)


@pytest.mark.parametrize("id", REACHABLE)
async def test_an_id_of_the_callers_own_finds_its_task(host: Host, client: httpx2.AsyncClient, id: str) -> None:
    await host.submit("function/nap", id=id, session=id)
    assert (await client.get(f"/v1/opscore/tasks/{id}")).json()["id"] == id
    assert (await client.get(f"/v1/opscore/sessions/{id}")).json()["sessionId"] == id


@pytest.mark.parametrize("what", ["id", "session", "agent"])
async def test_each_id_of_a_task_is_looked_at(host: Host, what: str) -> None:
    with pytest.raises(InvalidInput if what != "agent" else Exception, match="a/b"):
        await host.submit("function/nap", **{what: "a/b"})  # type: ignore[arg-type]


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_a_key_that_no_header_carries_is_refused(host: Host, key: str) -> None:
    task = await host.submit("function/nap")
    with pytest.raises(InvalidInput, match=r"^idempotency_key is .*; a key is 1 to 200 visible ASCII"):
        await host.submit("function/nap", idempotency_key=key)
    with pytest.raises(InvalidInput, match="a key is 1 to 200"):
        await host.retry(task.id, idempotency_key=key)
    with pytest.raises(InvalidInput, match="a key is 1 to 200"):
        await host.sessions.start_session("echo", idempotency_key=key)
    with pytest.raises(InvalidInput, match="a key is 1 to 200"):
        await host.signal(task.id, "go", id=key)


async def test_a_key_in_a_header_is_held_to_the_same_rule(client: httpx2.AsyncClient) -> None:
    for path, body in (
        ("tasks", {"handler": "function/nap"}),
        ("agents", {"agentName": "a", "contactEndpoint": "https://example.org"}),
        ("agent/echo/sessions", {}),
    ):
        answer = await client.post(f"/v1/opscore/{path}", json=body, headers={"Idempotency-Key": "x" * 201})
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith("Idempotency-Key is 'xxx")


@pytest.mark.parametrize(
    "labels",
    [{"a/b": "c"}, {"": "c"}, {"a": "x" * 201}, {"a": "b\n"}, {f"n{n}": "" for n in range(65)}, {"a": 1}, "blue"],
)
async def test_a_label_is_an_id_and_a_short_text(host: Host, labels: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^labels "):
        await host.submit("function/nap", labels=labels)


async def test_a_label_may_hold_any_printable_text(host: Host) -> None:
    task = await host.submit("function/nap", labels={"team": "blau, größer / schöner"})
    assert dict(task.labels) == {"team": "blau, größer / schöner"}


async def test_a_remote_agent_and_a_sessions_workflow_are_held_to_it(client: httpx2.AsyncClient) -> None:
    agent = {"agentId": "a/b", "agentName": "a", "contactEndpoint": "https://example.org"}
    assert "an id is 1 to 200" in (await client.post("/v1/opscore/agents", json=agent)).json()["detail"]
    answer = await client.post("/v1/opscore/agent/echo/sessions", json={"workflowId": "a/b"})
    assert answer.json()["detail"].startswith("workflowId is 'a/b'; an id is")
