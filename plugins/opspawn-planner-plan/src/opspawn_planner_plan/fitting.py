"""Whether what a plan gives a tool fits the tool's schema, as far as that can be said before the plan is carried out.

Only what is sure counts as a fault: inputs that refer to results are not there yet, and of a schema those parts are
looked at that every tool understands alike. The tool itself has the last word when it is called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from opspawn.agentkit.values import InputSpec, check_value, dotted
from opspawn_planner_plan.references import referred

_DEEPEST = 8  # levels of a schema that are looked at
_KEPT = ("type", "enum", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_OF_LISTS = ("minItems", "maxItems")


def misfits(inputs: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with inputs that a tool's schema knows, in words: "number must be an integer, not a string"."""
    known, shared = schema.get("properties") or {}, schema.get("$defs") or {}
    for name, value in inputs.items():
        if name not in known or any(True for _ in referred(value)):
            continue
        try:
            spec = InputSpec.model_validate(_sure(known[name], shared, _DEEPEST))
            faults = list(check_value(spec, value, (name,)))
        except (ValidationError, TypeError, ValueError):
            continue  # a schema that cannot be read says nothing sure
        yield from (f"{dotted(path)} {words.rstrip('.')}" for path, words in faults)


def _sure(schema: Any, shared: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """The part of a schema that can be checked; nothing where there are alternatives."""
    if not isinstance(schema, Mapping) or not depth:
        return {}
    if isinstance(named := schema.get("$ref"), str):
        return _sure(shared.get(named.removeprefix("#/$defs/")), shared, depth - 1)
    if not isinstance(schema.get("type", ""), str) or not {"anyOf", "oneOf", "allOf"}.isdisjoint(schema):
        return {}
    found = {name: schema[name] for name in (*_KEPT, *_OF_LISTS) if name in schema}
    if "const" in schema:
        found["enum"] = [schema["const"]]
    if "items" in schema:
        found["items"] = _sure(schema["items"], shared, depth - 1)
    if isinstance(inner := schema.get("properties"), Mapping):
        found["properties"] = {name: _sure(one, shared, depth - 1) for name, one in inner.items()}
        found["required"] = list(schema.get("required") or ())
        if schema.get("additionalProperties") is False:
            found["additionalProperties"] = False
    return found
