"""The kinds of records, read from the hook specifications: `opspawn_models` gives `ModelPlugin`s, of kind "model"."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

from opspawn import hookspecs


def _record_types() -> dict[str, type[Any]]:
    specs = {name: spec for name, spec in vars(hookspecs).items() if name.startswith("opspawn_")}
    return {name: get_args(get_type_hints(spec)["return"])[0] for name, spec in specs.items()}


#: Hook to the type of its records.
HOOKS = _record_types()


def kind_of(record_type: type[Any]) -> str:
    """ "model" for `ModelPlugin`, and so on."""
    return record_type.__name__.removesuffix("Plugin").lower()


#: Every kind: "model", "planner", "tool", "store", "waker", "transport".
KINDS = tuple(kind_of(record_type) for record_type in HOOKS.values())
