"""What is sure to be wrong with arguments of a tool before it is called: in what an approver gives instead, in a plan.

Of a tool's JSON Schema those parts are looked at that every tool understands alike, as `values.InputSpec`. What they
refuse, no tool takes that keeps to its schema; on the rest, such as formats, the tool has the last word when it is
called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from opspawn.agentkit.values import InputSpec, check_spec

_DEEPEST = 9  # levels of a schema that are looked at
_MOST = 500  # parts of it, since those that are shared may contain each other several times
_KEPT = ("type", "minLength", "maxLength", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_OF_LISTS = ("minItems", "maxItems")
_UNCLEAR = ("allOf", "nullable")
_SHARED = ("$defs", "definitions")


def checkable(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a tool's parameters that can be checked, as JSON of an `InputSpec` that can be used."""
    return _Reading(parameters).sure(parameters, _DEEPEST)


class _Reading:
    """Reads one schema, whose shared parts it names by `$ref`."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._shared = {f"#/{place}/{name}": one for place in _SHARED for name, one in _object(root.get(place)).items()}
        self._left = _MOST

    def sure(self, schema: Any, depth: int) -> dict[str, Any]:
        """The part of it that can be checked; nothing where that is not sure."""
        self._left -= 1
        if not isinstance(schema, Mapping) or not depth or self._left < 0:
            return {}
        if isinstance(named := schema.get("$ref"), str):
            return self.sure(self._shared.get(named), depth - 1)
        if not set(_UNCLEAR).isdisjoint(schema):
            return {}
        found = dict(_usable(schema))
        if ways := self._ways(schema, depth):
            found["anyOf"] = ways
        if "items" in schema:
            found["items"] = self.sure(schema["items"], depth - 1)
        if isinstance(schema.get("properties"), Mapping):
            found |= self._members(schema, depth)
        return found

    def _ways(self, schema: Mapping[str, Any], depth: int) -> list[dict[str, Any]]:
        """Of which one must fit; none where one of them takes anything."""
        given = schema.get("anyOf", schema.get("oneOf"))
        if isinstance(named := schema.get("type"), list):
            given = [{"type": one} for one in named]
        ways = [self.sure(one, depth - 1) for one in given] if isinstance(given, list) else []
        return ways if all(ways) else []

    def _members(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        known = {str(name): self.sure(one, depth - 1) for name, one in schema["properties"].items()}
        required = schema.get("required")
        needed = [name for name in required if name in known] if isinstance(required, list) else []
        closed = schema.get("additionalProperties") is False and "patternProperties" not in schema
        return {"properties": known, "required": needed, **({"additionalProperties": False} if closed else {})}


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _usable(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The keywords for one value, those left out that have another meaning here, or none."""
    told = {name: schema[name] for name in (*_KEPT, *_OF_LISTS) if name in schema}
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(values, list) and not any(isinstance(one, float) for one in values):  # 1.0 is also 1
        told["enum"] = values
    for name, value in told.items():
        try:
            spec = InputSpec.model_validate({name: value})
        except ValidationError:
            continue
        if not any(True for _ in check_spec(spec)):
            yield name, value
