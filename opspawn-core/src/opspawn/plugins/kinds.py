"""The kinds of records, read from the hook specifications: `opspawn_models` gives `ModelPlugin`s, of kind "model"."""

from __future__ import annotations

from collections.abc import Iterable
from types import UnionType
from typing import Any, get_args, get_type_hints

from opspawn import hookspecs


def _record_types() -> dict[str, tuple[type[Any], ...]]:
    specs = {name: spec for name, spec in vars(hookspecs).items() if name.startswith("opspawn_")}
    return {name: _members(get_args(get_type_hints(spec)["return"])[0]) for name, spec in specs.items()}


def _members(given: Any) -> tuple[type[Any], ...]:
    return get_args(given) if isinstance(given, UnionType) else (given,)


#: Hook to the types of its records.
HOOKS = _record_types()
_KINDS = {one: types[0].__name__.removesuffix("Plugin").lower() for types in HOOKS.values() for one in types}


def kind_of(record_type: type[Any]) -> str:
    """ "model" for `ModelPlugin`, and so on; records of one hook are of one kind, and share their names."""
    return _KINDS[record_type]


def in_words(record_types: Iterable[type[Any]]) -> str:
    """ "ToolPlugins or ToolSourcePlugins"."""
    return " or ".join(f"{one.__name__}s" for one in record_types)


#: Every kind: "model", "planner", "tool", "sandbox", "store", "waker", "transport", "memory", "embedder", ...
KINDS = tuple(kind_of(types[0]) for types in HOOKS.values())
