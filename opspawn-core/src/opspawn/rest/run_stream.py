"""One run over HTTP, as it happens: typed events, resumed with `Last-Event-ID`, until the run has ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from starlette.responses import Response, StreamingResponse

from opspawn.agentkit.run_event_json import run_event_to_json
from opspawn.contracts.run_events import RunEvent
from opspawn.ops.streaming import place_of
from opspawn.rest.deps import HostDep, known_query
from opspawn.rest.sse import event_stream, message, messages

router = APIRouter(prefix="/v1/opscore", tags=["events"], dependencies=[Depends(known_query)])


@router.get(
    "/tasks/{id}/stream",
    operation_id="streamRun",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "Server-sent events."},
        204: {"description": "The run has ended, and nothing follows what was seen; a browser asks no more."},
    },
)
async def stream_run(
    id: str,
    host: HostDep,
    after: Annotated[str | None, Query(description="Go on behind the event with this id, such as 17.0.")] = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """What happened in a task and in those within it, then what happens, until it has ended."""
    begin = last_event_id or after
    if begin is not None:
        place_of(begin)
    task = await host.task(id)
    source = host.stream(id, after=begin)
    if task.state.terminal:
        try:
            first = await anext(source)
        except StopAsyncIteration:
            return Response(status_code=204)
        source = _with(first, source)
    return event_stream(messages(source, _tell))


async def _with(first: RunEvent, rest: AsyncIterator[RunEvent]) -> AsyncIterator[RunEvent]:
    yield first
    async for event in rest:
        yield event


def _tell(event: RunEvent) -> bytes:
    return message(event.type, run_event_to_json(event), event.id)
