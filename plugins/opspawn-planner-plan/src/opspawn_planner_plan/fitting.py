"""Whether what a plan gives a tool fits the tool's schema, as far as that can be said before the plan is carried out.

Inputs that refer to results are not there yet, so they are not looked at; the others are as arguments of an approver.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opspawn.agentkit.arguments import checkable
from opspawn.agentkit.values import InputSpec, check_value, dotted
from opspawn_planner_plan.references import referred


def misfits(inputs: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with inputs that a tool's schema knows, in words: "number must be an integer, not a string"."""
    known = checkable(schema).get("properties") or {}
    for name, value in inputs.items():
        if name not in known or any(True for _ in referred(value)):
            continue
        spec = InputSpec.model_validate(known[name])
        yield from (f"{dotted(path)} {words.rstrip('.')}" for path, words in check_value(spec, value, (name,)))
