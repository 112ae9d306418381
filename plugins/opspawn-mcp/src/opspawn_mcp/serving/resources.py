"""Tasks, their journals and the results of sessions, as resources."""

from __future__ import annotations

import json
import re
from typing import Any

from mcp.types import Resource, ResourceTemplate, TextResourceContents

from opspawn.contracts.store import Query
from opspawn.contracts.transport import Host
from opspawn.errors import NotFound
from opspawn.lifecycle_views import SessionView
from opspawn.views import EventView, TaskView

_JSON = "application/json"
_LISTED = 50
#: Events of a journal that are shown at once.
_MOST = 2000
_URI = re.compile(r"opspawn://(tasks|sessions)/([^/]+)(/journal)?")

TEMPLATES = [
    ResourceTemplate(
        uri_template="opspawn://tasks/{task}", name="task", description="A task and its result.", mime_type=_JSON
    ),
    ResourceTemplate(
        uri_template="opspawn://tasks/{task}/journal",
        name="journal",
        description="What a task did: every event of its journal, in order.",
        mime_type=_JSON,
    ),
    ResourceTemplate(
        uri_template="opspawn://sessions/{session}",
        name="session",
        description="A session, its state and its result.",
        mime_type=_JSON,
    ),
]


async def listed(host: Host) -> list[Resource]:
    """The newest tasks and sessions; older ones are read by their ids."""
    tasks = await host.tasks(Query(limit=_LISTED))
    sessions = await host.sessions.find(limit=_LISTED)
    found = [
        Resource(
            uri=f"opspawn://tasks/{task.id}", name=task.id, description=f"{task.handler}: {task.state}", mime_type=_JSON
        )
        for task in tasks.items
    ]
    return found + [
        Resource(
            uri=f"opspawn://sessions/{one.id}",
            name=one.id,
            description=f"session of {one.agent or 'nobody'}: {one.state}",
            mime_type=_JSON,
        )
        for one in sessions.items
    ]


async def read(host: Host, uri: str) -> TextResourceContents:
    """What is at an address. Raises: NotFound."""
    found = _URI.fullmatch(uri)
    if found is None or (found[1] == "sessions" and found[3]):
        raise NotFound("resource", uri, remedy="See resources/templates/list.")
    told: Any
    if found[1] == "sessions":
        told = SessionView.of(await host.sessions.get(found[2])).to_json()
    elif found[3]:
        events = await host.journal(found[2])
        told = {"events": [EventView.of(event).to_json() for event in events[:_MOST]], "more": len(events) > _MOST}
    else:
        told = TaskView.of(await host.task(found[2])).to_json()
    return TextResourceContents(uri=uri, mime_type=_JSON, text=json.dumps(told, ensure_ascii=False))
