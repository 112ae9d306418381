"""One run over HTTP as it happens: typed, resumed where a client was cut off, and over with the run."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import httpx2

from opspawn.agentkit.run_event_json import run_event_from_json
from opspawn.contracts.run_events import QuestionAsked, RunCancelled, RunEnded, RunStarted, TextDelta
from opspawn.host import Host
from opspawn.ops.ids import new_id

PATIENCE_S = 30.0


async def read(client: httpx2.AsyncClient, id: str, headers: dict[str, str] | None = None, **query: Any) -> list[Any]:
    """The fields of each event of a whole stream, which ends with its run."""
    async with asyncio.timeout(PATIENCE_S):
        response = await client.get(f"/v1/opscore/tasks/{id}/stream", params=query, headers=headers)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = [block for block in response.text.split("\n\n") if block and not block.startswith(":")]
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]


async def start(client: httpx2.AsyncClient, handler: str, input: Any = "hi") -> str:
    return str((await client.post("/v1/opscore/tasks", json={"handler": handler, "input": input})).json()["id"])


async def test_a_run_streams_its_events_and_ends_with_it(client: httpx2.AsyncClient) -> None:
    events = await read(client, await start(client, "agent/talk"))

    told = [run_event_from_json(json.loads(event["data"])) for event in events]
    assert [event["event"] for event in events] == [event.type for event in told]
    assert isinstance(told[0], RunStarted)
    assert isinstance(told[-1], RunEnded)
    assert told[-1].output == "one two three"
    assert [event.get("id") for event in events] == [event.id for event in told]


async def test_whoever_listens_before_it_begins_misses_not_even_the_first_words(host: Host) -> None:
    id = new_id()

    told = [event async for event in host.stream(id, begin=partial(host.submit, "agent/talk", "hi", id=id))]

    assert "".join(event.text for event in told if isinstance(event, TextDelta)) == "one two three"


async def test_a_client_that_was_cut_off_anywhere_goes_on_with_the_next_event(client: httpx2.AsyncClient) -> None:
    id = await start(client, "agent/talk")
    whole = [event for event in await read(client, id) if "id" in event]

    for place in range(len(whole) - 1):
        rest = await read(client, id, {"Last-Event-ID": whole[place]["id"]})
        assert rest == whole[place + 1 :]
    assert await read(client, id, after=whole[0]["id"]) == whole[1:]


async def test_a_client_that_has_seen_the_end_is_told_to_ask_no_more(client: httpx2.AsyncClient) -> None:
    id = await start(client, "agent/talk")
    last = (await read(client, id))[-1]["id"]

    response = await client.get(f"/v1/opscore/tasks/{id}/stream", headers={"Last-Event-ID": last})

    assert response.status_code == 204


async def test_a_question_is_answered_while_the_stream_is_open(client: httpx2.AsyncClient, host: Host) -> None:
    id = await start(client, "function/asks", {})
    seen = []
    async for event in host.stream(id):
        seen.append(event)
        if isinstance(event, QuestionAsked):
            await client.post(f"/v1/opscore/questions/{event.question}/answer", json={"value": "yes"})

    assert [event.type for event in seen] == ["run_started", "question_asked", "question_answered", "run_ended"]


async def test_a_cancelled_run_ends_its_stream(client: httpx2.AsyncClient, host: Host) -> None:
    id = await start(client, "function/nap", {})
    stream = host.stream(id)
    assert isinstance(await anext(stream), RunStarted)

    await client.post(f"/v1/opscore/tasks/{id}/cancel")

    assert [type(event) async for event in stream] == [RunCancelled]


async def test_what_is_no_task_or_no_id_is_refused_before_anything_streams(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v1/opscore/tasks/nope/stream")).status_code == 404
    id = await start(client, "agent/talk")

    response = await client.get(f"/v1/opscore/tasks/{id}/stream", headers={"Last-Event-ID": "yesterday"})

    assert response.status_code == 422
    assert "'yesterday' is no id of an event" in response.json()["detail"]


async def test_a_stream_of_a_run_ends_when_the_host_stops(client: httpx2.AsyncClient, host: Host) -> None:
    id = await start(client, "function/nap", {})
    stream = host.stream(id)
    await anext(stream)

    host.stop()

    assert [event async for event in stream] == []
