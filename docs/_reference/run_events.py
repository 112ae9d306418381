"""`run-events.md` and `run-event.schema.json`: what happens in a run, as types."""

from __future__ import annotations

import json
from typing import Any, get_args

from _reference.text import docstring, fields, table
from opspawn.agentkit.run_event_json import run_event_schema
from opspawn.contracts import run_events

_OPENING = """\
# Events of a run

What happens in a run, as one union of types, `RunEvent` in `opspawn.contracts.run_events`: `agent.stream(...)`
and `on_event` tell it of a run in memory, `host.stream(task)`, `GET /v1/opscore/tasks/{id}/stream` and `--json` of
a durable one. How to use it: [Stream a run](../how-to/stream-a-run.md). The lines of the journal, which these are
made of, are [another list](events.md).

As JSON, names are camelCase, all members are always there, and `type` comes first. The JSON Schema is
[run-event.schema.json](run-event.schema.json)."""


def pages() -> dict[str, str]:
    """The page and the schema."""
    kinds: tuple[type[Any], ...] = get_args(get_args(run_events.RunEvent)[0])
    rows = [[f"`{kind.__dataclass_fields__['type'].default}`", f"`{kind.__name__}`"] for kind in kinds]
    parts = [_OPENING, table(["Type", "Class"], rows)]
    for kind in (run_events.Told, *kinds, run_events.Failure):
        parts += [f"## {kind.__name__}", docstring(kind), fields(kind)]
    return {"run-events.md": "\n\n".join(parts), "run-event.schema.json": json.dumps(run_event_schema(), indent=2)}
