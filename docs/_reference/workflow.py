"""`workflow.md` and `workflow.schema.json`: the workflow language, from the models that check definitions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from _reference.text import code, kind_of, table
from opspawn.ops.workflows import guards, workflow_schema
from opspawn.ops.workflows.syntax import MACROS, MAX_DEPTH, MAX_LENGTH
from opspawn.ops.workflows.template import LATER_STEP, LATER_TOP, LATER_USES, MAX_STEPS

_OPENING = """\
# Workflow definitions

A definition is a YAML or JSON file that the app names: `App(workflows=["workflows/triage.yaml"])`. It is
checked whole when the app is loaded, and each fault is told with its place. How to write one: [Write a
workflow](../how-to/write-a-workflow.md). The JSON Schema for editors and other checkers is
[workflow.schema.json](workflow.schema.json)."""


def pages() -> dict[str, str]:
    """The page and the schema."""
    schema = workflow_schema()
    parts = [_OPENING, "## Top level", _rows(schema)]
    for name, inner in schema["$defs"].items():
        parts += [f"## {name}", " ".join(inner.get("description", "").split()), _rows(inner)]
    parts += _rules()
    return {
        "workflow.md": "\n\n".join(part for part in parts if part),
        "workflow.schema.json": json.dumps(schema, indent=2),
    }


def _rows(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = []
    for key, field in schema.get("properties", {}).items():
        default = "required" if key in required else code(field["default"]) if field.get("default") is not None else ""
        kind = kind_of(field).replace(" or null", "")
        rows.append([f"`{key}`", kind, default, field.get("description", "")])
    return table(["Key", "Type", "Default", "Meaning"], rows)


def _rules() -> list[str]:
    return [
        "## Expressions",
        "`${{ … }}` holds an expression in [CEL](https://cel.dev). A text that is just one expression keeps the type "
        "of its value; in any other text the value becomes text. What comes out is data and never looked at again. "
        f"Names: {_names(guards.ROOTS)}, as in `inputs.topic`, `steps.ID.output`, `run.id`, `run.workflow`.",
        f"Functions: {_names(guards.FUNCTIONS)}. Macros: {_names(MACROS)}, and `has(a.b)`.",
        f"Bounds, checked before an expression runs: {MAX_LENGTH:,} characters, {MAX_DEPTH} levels, "
        f"{guards.MAX_MACROS} macros, nested {guards.MAX_MACRO_NESTING} deep at most, and an estimate of work and size "
        "from the real values.",
        "## Limits",
        f"At most {MAX_STEPS} steps. A duration is written `90s`, `10m` or `1h30m`; a bare number is refused. YAML is "
        "read strictly: YAML 1.2 scalars, no duplicate keys, no aliases, bounded depth and size.",
        "## Reserved words",
        "These belong to the language but not to this version. They are refused by name, so that nobody takes them for "
        "misspelt:",
        f"* at the top level: {_names(LATER_TOP)}\n* in a step: {_names(LATER_STEP)}\n"
        f"* in `uses`: {_names({f'{kind}/…' for kind in LATER_USES})}\n"
        f"* in expressions: {_names(guards.LATER_ROOTS)}; the functions {_names(guards.LATER_FUNCTIONS)}",
    ]


def _names(words: Any) -> str:
    return ", ".join(f"`{word}`" for word in sorted(words))
