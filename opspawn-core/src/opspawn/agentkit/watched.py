"""What is recorded with an answer or a result for those who watch the run, beside what the run itself reads back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic_core import to_jsonable_python

from opspawn.agentkit.codec import result_to_json
from opspawn.contracts.model import ModelResponse, ToolCall
from opspawn.contracts.tool import ToolResult


def held(encode: Callable[[ModelResponse], dict[str, Any]]) -> Callable[[ModelResponse], dict[str, Any]]:
    """Encodes an answer whose text nobody is shown before guardrails have let it pass."""
    return lambda response: {**encode(response), "held": True}


def result_encoder(call: ToolCall, *, asked: bool, looks: int) -> Callable[[ToolResult], dict[str, Any]]:
    """Encodes the outcome of a call, with its arguments where no answer of the model has them (not `asked`), and with
    how many guardrails will look at it.
    """
    more: dict[str, Any] = {} if asked else {"arguments": to_jsonable_python(call.arguments, fallback=repr)}
    if looks:
        more["looks"] = looks
    return (lambda result: {**result_to_json(result), **more}) if more else result_to_json
