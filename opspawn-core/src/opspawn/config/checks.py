"""Checks values against a pydantic model and tells every mistake in one line: where, what, what to do."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import date, time
from pathlib import PurePath
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from typing_extensions import TypeIs

from opspawn.config import durations
from opspawn.config.environment import PREFIX, variable_of
from opspawn.config.loaded import Text
from opspawn.config.secrets import looks_secret, redact
from opspawn.errors import ConfigError

M = TypeVar("M", bound=BaseModel)

Origin = Callable[[str], str]
"""Dotted key to the file, variable or option that gave the value; "" if nobody did."""

_WANTED = {
    "string_type": "a text",
    "string_sub_type": "a text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "none_required": "left out",
    "path_type": "a path",
    "url_type": "a URL",
    "url_parsing": "a URL",
}
#: What texts of a pattern are called, where its signs say too little.
_FORMS = {durations.PATTERN: "a span such as 90s, 10m, 2h or 1d"}
_LIMITS = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "literal_error": "{expected}",
    "enum": "{expected}",
}


def build(model: type[M], values: Mapping[str, Any], *, prefix: str = "", origin: Origin) -> M:
    """Return the model made from the values. Types are strict; only texts of variables are read as their field asks.

    Args:
        prefix: the dotted key of the table, with its dot, e.g. "plugins.openai.".
        origin: where the value of a dotted key (prefix included) came from.

    Raises: ConfigError: one line for the first mistake, and how many more there are.
    """
    settled = _settle(model, values)
    try:
        if not _is_plain(
            settled
        ):  # given by code, e.g. a client object: no file could hold it, so no strictness of files
            return model.model_validate(settled)
        # JSON, because strict Python mode refuses the texts that stand for paths, secrets and times.
        return model.model_validate_json(json.dumps(settled, default=str), strict=True)
    except ValidationError as error:
        raise _first_fault(error, model, settled, prefix, origin) from None


def unknown_key(key: str, origin: str, known: Iterable[str]) -> ConfigError:
    """The error for a key that is not there; `known` are its possible neighbours."""
    known = list(known)
    table, _, name = key.rpartition(".")
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        remedy = f"Did you mean {f'{table}.{near[0]}' if table else near[0]!r}?"
    else:
        remedy = (
            f"Remove it; {f'[{table}]' if table else 'the top level'} takes {', '.join(sorted(known)) or 'no key'}."
        )
    return ConfigError(f"{_place(origin)}there is no setting {key!r}.", remedy=remedy)


# -- texts of variables become what their field wants ----------------------------------------------------------------


def _settle(model: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    fields = model.model_fields if _is_model(model) else {}
    settled: dict[str, Any] = {}
    for key, value in values.items():
        field = fields.get(key)
        if isinstance(value, Mapping):
            settled[key] = _settle(_within(model, key), value)
        elif isinstance(value, Text):
            settled[key] = _read(field, value) if field else str(value)
        elif isinstance(value, list | tuple):
            settled[key] = [str(item) if isinstance(item, Text) else item for item in value]
        else:
            settled[key] = value
    return settled


def _is_model(annotation: Any) -> TypeIs[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _within(annotation: Any, part: int | str) -> Any:
    """What a key of a table, or a place in a list, is to hold, the table if it may be several things; None for any."""
    found: Any = None
    if _is_model(annotation):
        field = annotation.model_fields.get(str(part))
        found = field.annotation if field else None
    elif get_origin(annotation) in (dict, list):
        found = get_args(annotation)[-1]
    if get_origin(found) in (Union, UnionType):
        return next((one for one in get_args(found) if _is_model(one)), found)
    return found


def _read(field: FieldInfo, text: str) -> Any:
    """The first reading of a text that the field takes: as it stands, as JSON, as yes or no, as a list with commas."""
    adapter: TypeAdapter[Any] = TypeAdapter(cast(Any, Annotated[field.annotation, field]))
    readings: list[Any] = [str(text)]
    try:
        readings.append(json.loads(text))
    except ValueError:
        readings += (
            [True]
            if text.lower() in ("true", "yes", "on")
            else [False]
            if text.lower() in ("false", "no", "off")
            else []
        )
    if text in ("0", "1"):
        readings.append(text == "1")
    readings.append([part.strip() for part in text.split(",") if part.strip()])
    for reading in readings:
        try:
            adapter.validate_json(json.dumps(reading), strict=True)
        except ValidationError:
            continue
        return reading
    number = readings[1]
    return number if isinstance(number, int | float) else str(text)


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_plain(item) for item in value.values())
    if isinstance(value, list):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, str | int | float | date | time | PurePath)


# -- one line for a mistake ------------------------------------------------------------------------------------------


def _first_fault(
    error: ValidationError, model: type[BaseModel], values: Any, prefix: str, origin: Origin
) -> ConfigError:
    faults = error.errors(include_url=False, include_context=True)
    # A misspelt key is often the cause of a missing one, so it is told first.
    faults.sort(key=lambda fault: fault["type"] != "extra_forbidden")
    first = faults[0]
    path = _path(first, values)
    key = prefix + ".".join(str(part) for part in path)
    if first["type"] == "extra_forbidden":
        result = unknown_key(key, origin(key), _fields_at(model, path[:-1]))
    elif first["type"] == "missing":
        result = ConfigError(
            f"{_file(origin(key))}{key} is missing.", remedy=f"Set it there, or in {variable_of(key)}."
        )
    else:
        same = [fault for fault in faults if _path(fault, values) == path]
        wanted = " or ".join(dict.fromkeys(_wanted(fault) for fault in same))
        named = str(path[0]) if not prefix else key
        source = origin(_setting(key, path))
        result = ConfigError(
            f"{_place(source)}{key.removesuffix('.')} must be {wanted}{_given(first, key)}.",
            remedy=f"Correct it{_or_default(model, path, named)}.",
        )
    paths = {_path(fault, values) for fault in faults}
    others = sum(one != path[: len(one)] for one in paths)  # that a table is no other thing either is no mistake more
    if others:
        result.remedy = f"{result.remedy} ({others} more mistake{'s' if others > 1 else ''} after this one.)"
    return result


def _setting(key: str, path: tuple[int | str, ...]) -> str:
    """The dotted key without the places within a list."""
    cut = next((number for number, part in enumerate(path) if isinstance(part, int)), len(path))
    return ".".join(key.split(".")[: len(key.split(".")) - (len(path) - cut)])


def _path(fault: Any, values: Any) -> tuple[int | str, ...]:
    """The place of a fault in the values; pydantic adds names of union branches, which lead nowhere there."""
    loc: tuple[int | str, ...] = fault["loc"]
    path: list[int | str] = []
    for number, part in enumerate(loc):
        holds = isinstance(values, Mapping) and part in values
        holds = holds or (isinstance(values, list) and isinstance(part, int) and part < len(values))
        if holds:
            path.append(part)
            values = values[part]
        elif number == len(loc) - 1 and fault["type"] == "missing":
            path.append(part)
    return tuple(path) or loc[:1]


def _fields_at(model: Any, path: tuple[int | str, ...]) -> list[str]:
    for part in path:
        model = _within(model, part)
    return list(model.model_fields) if _is_model(model) else []


def _wanted(fault: Any) -> str:
    kind, context = fault["type"], fault.get("ctx", {})
    if kind in _WANTED:
        return _WANTED[kind]
    if kind in _LIMITS:
        return _LIMITS[kind].format(**context).replace("'", '"')
    if kind in ("too_short", "string_too_short", "too_long", "string_too_long"):
        of = "a text of" if kind.startswith("string") else "a list of"
        least, most = context.get("min_length"), context.get("max_length")
        return f"{of} length {least} or more" if kind.endswith("short") else f"{of} length {most} or less"
    if kind == "string_pattern_mismatch":
        return _FORMS.get(context["pattern"], f"a text that fits {context['pattern']}")
    message = str(fault["msg"]).removeprefix("Value error, ").removeprefix("Input should be ").rstrip(".")
    message = redact(message)
    return f"valid ({message})" if kind in ("value_error", "assertion_error") else message


def _given(fault: Any, key: str) -> str:
    value = fault["input"]
    if looks_secret(key) or isinstance(value, dict | list) or value is None or value == "":
        return ""
    shown = redact(json.dumps(value, ensure_ascii=False, default=str))
    return f", not {shown if len(shown) <= 60 else shown[:57] + '…'}"


def _or_default(model: Any, path: tuple[int | str, ...], key: str) -> str:
    field: FieldInfo | None = None
    for part in path:
        field = model.model_fields.get(str(part)) if _is_model(model) else None
        model = _within(model, part)
    if (
        field is None
        or field.is_required()
        or field.default is None
        or isinstance(field.default, BaseModel)
        or looks_secret(key)
    ):
        return ""
    return f", or leave it out for {json.dumps(field.default, default=str)}"


def _file(origin: str) -> str:
    return f"{origin}: " if origin and not origin.startswith((PREFIX, "--")) else ""


def _place(origin: str) -> str:
    return f"{origin}: " if origin else ""
