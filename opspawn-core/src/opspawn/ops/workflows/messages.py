"""The faults of a definition's shape, in our words instead of the validator's."""

from __future__ import annotations

from typing import Any

from opspawn.agentkit.values import InputSpec, Path, did_you_mean
from opspawn.ops.workflows.template import (
    LATER_STEP,
    LATER_TOP,
    BudgetSpec,
    Concurrency,
    Defaults,
    Retry,
    Step,
    Template,
)

_LATER = "is part of the workflow language but not of this version."


def message(path: Path, fault: Any) -> str:
    """A fault of the shape in our words."""
    kind, context = fault["type"], fault.get("ctx") or {}
    match kind:
        case "extra_forbidden":
            return _unknown_key(path)
        case "missing":
            return _missing(str(path[-1]))
        case "opspawn":
            return str(fault["msg"])
        case "literal_error":
            return f"must be {context.get('expected')}, not {_shown(fault['input'])}."
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"must be a mapping of keys to values, not {_shown(fault['input'])}."
        case "list_type":
            return f"must be a list, not {_shown(fault['input'])}."
        case "string_type":
            return f"must be text, not {_shown(fault['input'])}. Put it in quotes."
        case "bool_type":
            return f"must be true or false, not {_shown(fault['input'])}."
        case "int_type":
            return f"must be a whole number, not {_shown(fault['input'])}."
        case "too_short" if path == ("steps",):
            return "must have at least one step."
        case "too_long" if path == ("steps",):
            return f"has more than {context['max_length']} steps. Split the workflow."
    text = str(fault["msg"])
    return f"{text[:1].lower()}{text[1:]}; this is {_shown(fault['input'])}."


def _unknown_key(path: Path) -> str:
    key, parent = str(path[-1]), path[:-1]
    fields, later = _known_at(parent)
    if key in later:
        return f"{key!r} {_LATER}"
    if key == "on" and not parent:
        return f"'on' is not a key; its name here is 'triggers', which {_LATER}"
    return f"{key!r} is not a key here. {did_you_mean(key, fields)}"


def _known_at(parent: Path) -> tuple[list[str], frozenset[str]]:
    """The keys that may stand in a place, and those that a later version will know there."""
    nothing: frozenset[str] = frozenset()
    if not parent:
        return _names(Template), LATER_TOP
    if parent[-1] == "retry":
        return _names(Retry), nothing
    if parent == ("budget",) or (parent[0] == "steps" and parent[2:] == ("budget",)):
        return _names(BudgetSpec), nothing
    if parent == ("concurrency",):
        return _names(Concurrency), nothing
    if parent == ("defaults",):
        return _names(Defaults), LATER_STEP
    if parent[0] == "steps":
        return _names(Step), LATER_STEP
    return _names(InputSpec), nothing


def _names(model: Any) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _missing(key: str) -> str:
    remedies = {
        "opspawn": 'Begin the file with: opspawn: "1"',
        "name": "Give the workflow a name of the characters a-z 0-9 - _.",
        "steps": "A workflow has at least one step.",
        "uses": "Write 'uses: tool/NAME' or 'uses: agent/NAME'.",
    }
    return f"is missing. {remedies.get(key, '')}"


def _shown(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
