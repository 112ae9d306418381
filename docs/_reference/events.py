"""`events.md`: every type of event, and the shape of a line of a journal."""

from __future__ import annotations

from _reference.text import docstring, fields, table
from opspawn.contracts import events
from opspawn.contracts.store import EventQuery

_OPENING = """\
# Events

A task's journal is an append-only list of events. It is the log, the checkpoint and the trace at once: see
[Durability](../explanation/durability.md). Read it with `opspawn logs --task ID`, `GET
/v1/opscore/tasks/{id}/journal`, or live from `GET /v1/opscore/events`.

## Types"""


def pages() -> dict[str, str]:
    """The page."""
    rows = [[f"`{name}`", meaning] for name, meaning in events.EVENT_TYPES.items()]
    rows.append(
        [
            "`custom.NAME`",
            'Whatever a planner or function told with `ctx.emit("NAME", {...})`, once. data: its own, key, digest.',
        ]
    )
    parts = [_OPENING, table(["Type", "Meaning"], rows)]
    for record in (events.Event, events.NewEvent, events.TaskDelta, EventQuery):
        parts += [f"## {record.__name__}", docstring(record), fields(record)]
    return {"events.md": "\n\n".join(parts)}
