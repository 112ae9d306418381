"""Events over HTTP: live, resumed where a client was cut off, filtered, and as a page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from opspawn.host import Host
from opspawn.rest import stream

EVENTS = "/v1/opscore/events"
PATIENCE_S = 30.0


@dataclass
class Sent:
    """One server-sent event; without an id it cannot be resumed from."""

    id: int | None
    type: str
    data: Any


class Listener:
    """Reads a stream of server-sent events."""

    def __init__(self, response: httpx2.Response) -> None:
        self._lines = response.aiter_lines()

    async def next(self) -> Sent | str:
        """The next event, or the text of the next comment."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE_S):
            async for line in self._lines:
                if line.startswith(":"):
                    return line[1:].strip()
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif fields:
                    id = int(fields["id"]) if "id" in fields else None
                    return Sent(id, fields["event"], json.loads(fields["data"]))
        raise EOFError

    async def until(self, type: str) -> list[Sent]:
        """All events up to the first of a type."""
        events = []
        while not events or events[-1].type != type:
            sent = await self.next()
            if isinstance(sent, Sent):
                events.append(sent)
        return events


@asynccontextmanager
async def listening(
    client: httpx2.AsyncClient, headers: dict[str, str] | None = None, **query: Any
) -> AsyncIterator[Listener]:
    """A stream, past its greeting: whatever happens from now on comes."""
    async with client.stream("GET", EVENTS, params=query, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        listener = Listener(response)
        assert await listener.next() == "connected"
        yield listener


async def run(client: httpx2.AsyncClient, agent: str = "echo", **more: Any) -> str:
    task = (await client.post(f"/v1/agents/{agent}/run", json={"input": "hi", "waitS": PATIENCE_S, **more})).json()
    assert task["state"] == "succeeded"
    return str(task["id"])


async def test_a_listener_gets_every_event_of_what_happens_after_it_came(client: httpx2.AsyncClient) -> None:
    before = await run(client)
    async with listening(client) as listener:
        id = await run(client)
        events = await listener.until("task.succeeded")

    journal = (await client.get(f"/v1/opscore/tasks/{id}/journal")).json()["events"]
    assert [event.data for event in events] == journal
    assert [event.id for event in events] == [event["position"] for event in journal]
    assert all(event.data["task"] != before for event in events)


async def test_a_listener_that_was_cut_off_resumes_with_the_next_event_exactly(client: httpx2.AsyncClient) -> None:
    async with listening(client) as listener:
        first = await run(client)
        seen = (await listener.until("task.succeeded"))[:2]
    second = await run(client)

    async with listening(client, {"Last-Event-ID": str(seen[-1].id)}) as listener:
        rest = [*await listener.until("task.succeeded"), *await listener.until("task.succeeded")]

    positions = []
    for id in (first, second):
        journal = (await client.get(f"/v1/opscore/tasks/{id}/journal")).json()["events"]
        positions += [event["position"] for event in journal]
    assert [event.id for event in [*seen, *rest]] == positions


async def test_the_header_of_a_reconnecting_browser_wins_over_the_query_of_its_first_request(
    client: httpx2.AsyncClient,
) -> None:
    await run(client)
    second = await run(client)
    last = (await client.get(EVENTS, headers={"accept": "application/json"})).json()["events"][-1]["position"]

    async with listening(client, {"Last-Event-ID": str(last - 1)}, after=0) as listener:
        sent = await listener.next()

    assert isinstance(sent, Sent)
    assert (sent.id, sent.type, sent.data["task"]) == (last, "task.succeeded", second)


async def test_pieces_of_an_answer_come_without_an_id(client: httpx2.AsyncClient) -> None:
    async with listening(client) as listener:
        id = await run(client, "talk")
        events = await listener.until("task.succeeded")

    pieces = [event for event in events if event.type == "delta"]
    assert {(event.id, event.data["task"]) for event in pieces} <= {(None, id)}
    assert "".join(event.data["text"] for event in pieces) in ("one two three", "")


@pytest.mark.parametrize("query", [{"agent": "talk"}, {"session": "mine"}])
async def test_a_stream_is_filtered(client: httpx2.AsyncClient, query: dict[str, str]) -> None:
    async with listening(client, **query) as listener:
        await run(client, "echo")
        id = await run(client, "talk", sessionId="mine")
        events = await listener.until("task.succeeded")

    assert {event.data["task"] for event in events} == {id}


async def test_a_quiet_stream_says_that_it_is_still_there(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "KEEP_ALIVE_S", 0.05)
    async with listening(client) as listener:
        assert [await listener.next(), await listener.next()] == ["still here", "still here"]


async def test_a_stream_ends_when_the_host_stops(client: httpx2.AsyncClient, host: Host) -> None:
    async with listening(client) as listener:
        host.stop()
        with pytest.raises(EOFError):
            await listener.next()


async def test_a_listener_that_leaves_leaves_nothing_behind_in_the_process(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "KEEP_ALIVE_S", 0.05)
    await run(client)
    before = asyncio.all_tasks()
    for _ in range(5):
        async with listening(client):
            assert len(asyncio.all_tasks()) > len(before)

    left = asyncio.all_tasks() - before
    if left:
        _, left = await asyncio.wait(left, timeout=PATIENCE_S)
    assert not left


async def test_a_page_of_past_events_is_bounded_by_position_time_and_number(client: httpx2.AsyncClient) -> None:
    await run(client)
    await run(client)
    json_please = {"accept": "application/json"}

    async def page(**query: Any) -> list[int]:
        answer = await client.get(EVENTS, params=query, headers=json_please)
        return [event["position"] for event in answer.json()["events"]]

    events = (await client.get(EVENTS, headers=json_please)).json()["events"]
    positions, middle = [event["position"] for event in events], events[3]

    assert await page(limit=2) == positions[:2]
    assert await page(after=positions[1], limit=2) == positions[2:4]
    assert await page(since=middle["time"]) == [
        event["position"] for event in events if event["time"] >= middle["time"]
    ]
    assert await page(until=middle["time"]) == [event["position"] for event in events if event["time"] < middle["time"]]
    task = events[-1]["task"]
    assert await page(task=task) == [e["position"] for e in events if e["task"] == task]


async def test_a_window_of_time_is_refused_where_a_stream_would_leave_it_out(client: httpx2.AsyncClient) -> None:
    answer = await client.get(EVENTS, params={"since": "2026-11-20T12:00:00Z"})

    assert answer.status_code == 422
    assert "query/since: goes with Accept: application/json alone" in answer.json()["detail"]
