"""What a run is given is checked against the declared inputs."""

from __future__ import annotations

from typing import Any

import pytest

from opspawn.errors import InvalidInput
from opspawn.ops.workflows import Workflow, load_workflow, workflow_schema


def flow(**inputs: Any) -> Workflow:
    return load_workflow({"opspawn": "1", "name": "x", "inputs": inputs, "steps": {"a": {"uses": "agent/a"}}})


def faults_of(workflow: Workflow, given: Any) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        workflow.bind_inputs(given)
    return list(caught.value.faults)


def test_defaults_are_filled_in_and_given_values_kept() -> None:
    workflow = flow(topic={"type": "string"}, depth={"type": "integer", "default": 3}, note={"default": None})
    assert workflow.bind_inputs({"topic": "x"}) == {"topic": "x", "depth": 3, "note": None}
    assert workflow.bind_inputs({"topic": "x", "depth": 1, "note": 2}) == {"topic": "x", "depth": 1, "note": 2}


def test_a_default_is_not_shared_between_runs() -> None:
    workflow = flow(tags={"type": "array", "default": []})
    workflow.bind_inputs(None)["tags"].append("x")
    assert workflow.bind_inputs({}) == {"tags": []}


def test_every_fault_is_a_line_of_its_own() -> None:
    workflow = flow(topic={"type": "string"}, depth={"type": "integer", "default": 3}, more={})
    assert faults_of(workflow, {"topics": "x", "depth": "3", "more": 1}) == [
        "inputs.topics: is not an input of this workflow. Did you mean 'topic'?",
        "inputs.topic: is missing. Give it as a string.",
        "inputs.depth: must be an integer, not a string.",
    ]


def test_a_workflow_without_inputs_takes_nothing() -> None:
    assert flow().bind_inputs(None) == {}
    assert "is not an input of this workflow" in faults_of(flow(), {"a": 1})[0]


@pytest.mark.parametrize("given", [[], "x", 3])
def test_inputs_that_are_no_object_are_refused(given: Any) -> None:
    assert faults_of(flow(), given)[0].startswith("inputs: must be an object")


@pytest.mark.parametrize(
    ("spec", "value", "said"),
    [
        ({"type": "integer"}, True, "must be an integer, not a boolean."),
        ({"type": "integer"}, 1.0, "must be an integer, not a number."),
        ({"type": "number"}, "1", "must be a number, not a string."),
        ({"type": "boolean"}, "yes", "must be a boolean, not a string."),
        ({"type": "string"}, None, "must be a string, not null."),
        ({"type": "array"}, {}, "must be an array, not an object."),
        ({"type": "object"}, [], "must be an object, not an array."),
        ({"type": "null"}, 0, "must be null, not an integer."),
        ({"enum": ["a", "b"]}, "c", "must be one of 'a', 'b', not 'c'."),
        ({"enum": [1]}, True, "must be one of 1, not True."),
        ({"minLength": 2}, "a", "must have at least 2 characters, not 1."),
        ({"maxLength": 2}, "abc", "must have at most 2 characters, not 3."),
        ({"pattern": "^a+$"}, "b", "must match '^a+$', and 'b' does not."),
        ({"minimum": 2}, 1, "must be at least 2, not 1."),
        ({"maximum": 2}, 3, "must be at most 2, not 3."),
        ({"exclusiveMinimum": 2}, 2, "must be more than 2, not 2."),
        ({"exclusiveMaximum": 2}, 2, "must be less than 2, not 2."),
        ({"minItems": 1}, [], "must have at least 1 items, not 0."),
        ({"maxItems": 1}, [1, 2], "must have at most 1 items, not 2."),
    ],
)
def test_a_value_that_does_not_fit_is_told_what_would(spec: dict[str, Any], value: Any, said: str) -> None:
    assert faults_of(flow(v=spec), {"v": value}) == [f"inputs.v: {said}"]


def test_faults_within_lists_and_objects_name_the_whole_path() -> None:
    workflow = flow(
        rows={
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"id": {"type": "integer"}},
                "required": ["id"],
                "additionalProperties": False,
            },
        }
    )
    assert workflow.bind_inputs({"rows": [{"id": 1}]}) == {"rows": [{"id": 1}]}
    assert faults_of(workflow, {"rows": [{"id": "1"}, {"idd": 2}]}) == [
        "inputs.rows[0].id: must be an integer, not a string.",
        "inputs.rows[1].id: is missing.",
        "inputs.rows[1].idd: is not known here. Did you mean 'id'?",
    ]


def test_a_pattern_takes_linear_time() -> None:
    assert faults_of(flow(v={"pattern": "^(a+)+$"}), {"v": "a" * 5000 + "!"})


def test_what_is_not_json_is_refused() -> None:
    assert "must be JSON" in faults_of(flow(v={}), {"v": float("nan")})[0]
    assert "must be JSON" in faults_of(flow(v={}), {"v": object()})[0]


def test_the_published_schema_is_closed_and_knows_every_key() -> None:
    schema = workflow_schema()
    step = schema["$defs"]["Step"]
    assert schema["additionalProperties"] is step["additionalProperties"] is False
    assert set(step["properties"]) == {"uses", "with", "needs", "retry", "timeout", "budget"}
    assert set(schema["required"]) == {"opspawn", "name", "steps"}
