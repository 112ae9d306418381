"""JSON Schemas as the vendor takes them."""

from __future__ import annotations

from typing import Any

#: The tool whose arguments are the answer, where the vendor does not hold answers to a schema.
OUTPUT_TOOL = "final_answer"
_KEYS = {"type", "properties", "required", "additionalProperties", "items", "anyOf", "allOf", "$defs", "$ref"}
_KEYS |= {"enum", "const", "title", "description", "default", "format", "pattern", "minItems"}


def is_enforceable(schema: Any) -> bool:
    """Whether the vendor can hold an answer to the schema: only keywords that it knows, and no open-ended objects."""
    if not isinstance(schema, dict) or not schema.keys() <= _KEYS or schema.get("minItems", 0) not in (0, 1):
        return False
    if schema.get("type") == "object" and schema.get("additionalProperties") not in (None, False):
        return False
    inner = [*_values(schema.get("properties")), *_values(schema.get("$defs")), *(schema.get("anyOf") or ())]
    inner += [*(schema.get("allOf") or ()), *([schema["items"]] if "items" in schema else [])]
    return all(is_enforceable(part) for part in inner)


def closed(schema: Any) -> Any:
    """The schema with every object closed against further properties, as the vendor insists."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {
        key: {name: closed(part) for name, part in value.items()}
        if key in ("properties", "$defs") and isinstance(value, dict)
        else value
        if key in ("enum", "const", "default")
        else closed(value)
        for key, value in schema.items()
    }
    return inner | {"additionalProperties": False} if schema.get("type") == "object" else inner


def wrapped(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema as that of a tool's arguments, which are always an object."""
    if schema.get("type") == "object":
        return schema
    defs = {"$defs": schema["$defs"]} if "$defs" in schema else {}
    value = {key: part for key, part in schema.items() if key != "$defs"}
    return {"type": "object", "properties": {"value": value}, "required": ["value"], **defs}


def unwrapped(schema: dict[str, Any], arguments: dict[str, Any]) -> Any:
    """The answer in the arguments of the tool that `wrapped` described."""
    return arguments if schema.get("type") == "object" else arguments.get("value")


def _values(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else []
