"""Events over HTTP: as server-sent events that resume with `Last-Event-ID`, or as one JSON page."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, Request
from pydantic import AwareDatetime
from starlette.responses import Response, StreamingResponse

from opspawn.contracts.events import Event, TaskDelta
from opspawn.contracts.store import EventQuery
from opspawn.rest.answers import JsonAnswer
from opspawn.rest.deps import MAX_POSITION, HostDep, known_query
from opspawn.rest.problems import Problem, invalid_request
from opspawn.rest.schemas import Events
from opspawn.rest.sse import KEEP_ALIVE_S, event_stream, message, messages
from opspawn.views import EventView

router = APIRouter(prefix="/v1/opscore", tags=["events"], dependencies=[Depends(known_query)])

_ID = re.compile("[0-9]{1,19}")


@router.get(
    "/events",
    operation_id="streamEvents",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}, "application/json": {}}, "model": Events}},
)
async def stream_events(
    request: Request,
    host: HostDep,
    task: str | None = None,
    agent: str | None = None,
    session: str | None = None,
    error_type: Annotated[str | None, Query(alias="errorType")] = None,
    level: Literal["debug", "info", "warning", "error"] | None = None,
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
    after: Annotated[
        int | None, Query(ge=0, le=MAX_POSITION, description="Start after this position; 0 is the beginning.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Of a JSON page.")] = 200,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Live events; with `Accept: application/json` one page of past ones, whose time `since` and `until` bound."""
    query = EventQuery(
        task=task,
        agent=agent,
        session=session,
        error_type=error_type,
        level=level,
        position=after or 0,
        after=since,
        before=until,
        limit=limit,
    )
    if request.headers.get("accept", "").startswith("application/json"):
        found = await host.events(query)
        return JsonAnswer(Events(events=[EventView.of(event) for event in found]))
    given = [name for name in ("since", "until") if name in request.query_params]
    if given:
        detail = "goes with Accept: application/json alone; a stream begins behind after, or Last-Event-ID"
        raise invalid_request([{"pointer": f"query/{name}", "detail": detail} for name in given])
    source = host.tail(_start(last_event_id, after))
    return event_stream(messages(source, _tell(_filter(query)), keep_alive_s=KEEP_ALIVE_S))


def _start(last_event_id: str | None, after: int | None) -> int | None:
    if last_event_id is None:
        return after
    if not _ID.fullmatch(last_event_id) or int(last_event_id) > MAX_POSITION:
        raise Problem(
            400,
            "last-event-id",
            f"Last-Event-ID is {last_event_id!r}, which is no id of an event.",
            remedy="Send the id of the last event that you saw, or leave the header out.",
        )
    return int(last_event_id)


def _filter(query: EventQuery) -> Callable[[Event], bool]:
    asked = {name: getattr(query, name) for name in ("task", "agent", "session", "error_type", "level")}
    wanted = {name: value for name, value in asked.items() if value is not None}
    return lambda event: all(getattr(event, name) == value for name, value in wanted.items())


def _tell(wanted: Callable[[Event], bool]) -> Callable[[Event | TaskDelta], bytes | None]:
    """A delta has no id, since it cannot be resumed. Deltas follow tasks that passed the filter."""
    passed: set[str] = set()

    def tell(item: Event | TaskDelta) -> bytes | None:
        if isinstance(item, TaskDelta):
            return message("delta", {"task": item.task, **item.data}) if item.task in passed else None
        if not wanted(item):
            return None
        if item.task is not None:
            passed.add(item.task)
        return message(item.type, EventView.of(item), item.position)

    return tell
