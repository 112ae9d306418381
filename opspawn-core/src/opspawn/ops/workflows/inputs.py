"""The declared inputs of a workflow, and the check of what a run is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opspawn.agentkit.values import InputSpec, article, check_value, did_you_mean, dotted, type_name

MAX_INPUT_FAULTS = 20


def bind(specs: Mapping[str, InputSpec], given: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the inputs with defaults filled in, and one line per fault, each beginning with its place."""
    if given is None:
        given = {}
    if not isinstance(given, Mapping):
        return {}, [f"inputs: must be an object with the inputs by name, not {type_name(given)}."]
    faults = [
        f"inputs.{key}: is not an input of this workflow. {did_you_mean(str(key), specs)}"
        for key in given
        if key not in specs
    ]
    bound: dict[str, Any] = {}
    for name, spec in specs.items():
        if name in given:
            bound[name] = given[name]
            if not (bound[name] is None and spec.has_default and spec.default is None):
                faults += [
                    f"{dotted(path)}: {message}" for path, message in check_value(spec, given[name], ("inputs", name))
                ]
        elif spec.has_default:
            bound[name] = spec.default
        else:
            faults.append(f"inputs.{name}: is missing. Give it{_wanted(spec)}.")
    return bound, faults[:MAX_INPUT_FAULTS]


def _wanted(spec: InputSpec) -> str:
    return f" as {article(spec.type)}" if spec.type else ""
