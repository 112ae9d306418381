"""What is looked at of a tool's schema before the tool is called: only what is sure."""

from __future__ import annotations

from typing import Any

import pytest

from opspawn.agentkit.arguments import checkable
from opspawn.agentkit.values import InputSpec, check_spec, check_value

ONE, OTHER = {"type": "object", "properties": {"n": {"type": "integer"}}}, {"type": "string"}


def faults(schema: Any, value: Any, **shared: Any) -> list[str]:
    spec = InputSpec.model_validate(checkable({"properties": {"x": schema}, "$defs": shared}))
    assert list(check_spec(spec)) == []
    return [words for _, words in check_value(spec, {"x": value})]


@pytest.mark.parametrize(
    ("schema", "value", "words"),
    [
        ({"anyOf": [ONE, OTHER]}, {"n": "5"}, "must be an integer, not a string."),
        ({"oneOf": [ONE, OTHER]}, 5, "must be an object or a string, not an integer."),
        ({"type": ["string", "null"], "minLength": 2}, "a", "must have at least 2 characters, not 1."),
        ({"const": "a"}, "b", "must be one of 'a', not 'b'."),
        ({"$ref": "#/$defs/other"}, 5, "must be a string, not an integer."),
        ({"items": {"anyOf": [{"$ref": "#/$defs/other"}, {"type": "null"}]}}, [5], "must be a string or null, not an "),
    ],
)
def test_what_is_sure_is_a_fault(schema: Any, value: Any, words: str) -> None:
    [told] = faults(schema, value, other=OTHER)
    assert told.startswith(words)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"anyOf": [ONE, {"format": "date"}]}, 5),  # the second may take anything
        ({"type": "string", "nullable": True}, None),
        ({"allOf": [OTHER], "type": "string"}, 5),
        ({"enum": [1.0, 2.0]}, 1),
        ({"type": "string", "pattern": "(?=a)a"}, "b"),  # which is not looked at: it may take for ever
        ({"exclusiveMinimum": True, "minimum": 3}, 3),  # of an older JSON Schema
        ({"type": "object", "properties": {}, "required": "all"}, {}),
        ({"properties": {}, "additionalProperties": False, "patternProperties": {"^x": {}}}, {"x1": 1}),
    ],
)
def test_what_is_not_sure_is_none(schema: Any, value: Any) -> None:
    assert faults(schema, value) == []


def test_parts_that_contain_each_other_many_times_stay_small() -> None:
    shared = {f"n{n}": {"properties": {one: {"$ref": f"#/$defs/n{n + 1}"} for one in "abcdefgh"}} for n in range(9)}

    assert len(str(checkable({"properties": {"x": {"$ref": "#/$defs/n0"}}, "$defs": shared}))) < 50_000


def test_a_declaration_is_looked_at_in_each_of_its_ways() -> None:
    spec = InputSpec.model_validate({"anyOf": [{"type": "null"}, {"type": "string", "pattern": "("}]})

    [(path, words)] = check_spec(spec)
    assert path == ("anyOf", 1, "pattern")
    assert words.startswith("is not a regular expression")
