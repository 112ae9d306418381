"""What a plan gives a tool is held against the tool's schema before anything happens."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from opspawn import tool
from opspawn_planner_plan.fitting import misfits


class Speed(Enum):
    normal = "normal"
    express = "express"


class Address(BaseModel):
    street: str
    city: str


@tool(effect="once")
async def order(
    pieces: Annotated[int, Field(ge=1, le=10)],
    to: Address,
    speed: Speed = Speed.normal,
    tags: list[str] = [],  # noqa: B006
    note: str | None = None,
) -> str:
    """Order."""
    return "ordered"


@pytest.mark.parametrize(
    ("inputs", "faults"),
    [
        ({"pieces": 3, "to": {"street": "x", "city": "y"}, "speed": "express", "tags": ["a"], "note": None}, []),
        ({"pieces": 11}, ["pieces must be at most 10, not 11"]),
        ({"pieces": "3"}, ["pieces must be an integer, not a string"]),
        ({"to": {"street": "x"}}, ["to.city is missing"]),
        ({"to": {"street": "x", "city": 5}}, ["to.city must be a string, not an integer"]),
        ({"speed": "slow"}, ["speed must be one of 'normal', 'express', not 'slow'"]),
        ({"note": 5}, ["note must be a string or null, not an integer"]),
        ({"tags": ["a", 2]}, ["tags[1] must be a string, not an integer"]),
    ],
)
def test_what_does_not_fit_is_named_with_its_path(inputs: dict[str, Any], faults: list[str]) -> None:
    assert list(misfits(inputs, order.parameters)) == faults


@pytest.mark.parametrize(
    "inputs",
    [
        {"pieces": "${count}"},
        {"to": {"street": "${find.street}", "city": 5}},
        {"unknown": 1},  # told elsewhere, with the names that there are
    ],
)
def test_what_is_not_sure_is_left_to_the_tool(inputs: dict[str, Any]) -> None:
    assert list(misfits(inputs, order.parameters)) == []


@pytest.mark.parametrize(
    "schema",
    [{"type": ["strange", "null"]}, {"type": "strange"}, {"$ref": "#/$defs/gone"}, {"enum": "no list"}, True],
)
def test_a_schema_that_cannot_be_read_says_nothing(schema: Any) -> None:
    assert list(misfits({"x": 1}, {"properties": {"x": schema}})) == []


def test_a_schema_that_contains_itself_is_looked_at_to_a_depth() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}
    inside: Any = {}
    for _ in range(50):
        inside = {"next": inside}

    assert list(misfits({"x": inside}, {"properties": {"x": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}})) == []
