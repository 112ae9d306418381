"""The events of a run as JSON, and the JSON Schema of it: what streams over HTTP and `--json` lines hold."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter
from pydantic.alias_generators import to_camel

from opspawn.contracts.run_events import RunEvent


@cache
def _adapter() -> TypeAdapter[RunEvent]:
    return TypeAdapter(RunEvent, config=ConfigDict(alias_generator=to_camel, ser_json_inf_nan="null"))


def run_event_to_json(event: RunEvent) -> dict[str, Any]:
    """Return the event as plain JSON: its `type` first, names in camelCase, everything there."""
    data: dict[str, Any] = _adapter().dump_python(event, mode="json", by_alias=True)
    return {"type": data.pop("type"), **data}


def run_event_from_json(data: Mapping[str, Any]) -> RunEvent:
    """Return the event. Raises: ValueError: it is none."""
    return _adapter().validate_python({**data})


def run_event_schema() -> dict[str, Any]:
    """Return the JSON Schema of all events: one of the types, told apart by `type`."""
    schema = _adapter().json_schema(mode="serialization", by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "RunEvent", **schema}
