"""Answers of models and results of tools keep everything on their way through JSON."""

from __future__ import annotations

import json

import pytest

from opspawn.agentkit import codec
from opspawn.contracts.model import ModelResponse, ToolCall, Usage
from opspawn.contracts.tool import ToolResult


@pytest.mark.parametrize(
    "response",
    [
        ModelResponse(),
        ModelResponse("é ✓", model="m-1", request_id="r", usage=Usage(1, 2, 3, 4, 5), finish_reason="length"),
        ModelResponse(tool_calls=(ToolCall("1", "a", {"x": [1, {"y": None}]}), ToolCall("2", "b", malformed="{"))),
    ],
)
def test_a_response_comes_back_as_it_was(response: ModelResponse):
    assert codec.response_from_json(json.loads(json.dumps(codec.response_to_json(response)))) == response


@pytest.mark.parametrize(
    "result",
    [
        ToolResult("1", "a", "text", "text"),
        ToolResult("1", "a", '{"x":1}', {"x": 1}),
        ToolResult("1", "a", "null", None),
        ToolResult("1", "a", "", ""),
        ToolResult("1", "a", "false", False),
        ToolResult("1", "a", "wrong", None, True),
    ],
)
def test_a_tool_result_comes_back_as_it_was(result: ToolResult):
    assert codec.result_from_json(json.loads(json.dumps(codec.result_to_json(result)))) == result


def test_empty_fields_take_no_room():
    assert codec.response_to_json(ModelResponse("hi")) == {"text": "hi"}
    assert codec.usage_to_json(Usage()) == {}


def test_keys_from_the_future_are_ignored():
    data = {"text": "hi", "mood": "good", "usage": {"input_tokens": 1, "thought_tokens": 9}}

    assert codec.response_from_json(data) == ModelResponse("hi", usage=Usage(input_tokens=1))
