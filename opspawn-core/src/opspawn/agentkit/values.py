"""A small, closed part of JSON Schema: what a value must be, and the check of one. For inputs and answers."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import SchemaError

Path = tuple[str | int, ...]
TypeName = Literal["string", "integer", "number", "boolean", "array", "object", "null"]


class InputSpec(BaseModel):
    """One input, or a value within one. Required unless it has a default; `default: null` makes it optional."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    type: TypeName | None = None
    title: str | None = None
    description: str | None = None
    default: Any = None
    enum: list[Any] | None = Field(None, min_length=1)
    minLength: int | None = Field(None, ge=0)
    maxLength: int | None = Field(None, ge=0)
    pattern: str | None = Field(None, description="A regular expression without look-around; it may match anywhere.")
    format: str | None = Field(None, description="For people and forms; not checked.")
    minimum: float | None = None
    maximum: float | None = None
    exclusiveMinimum: float | None = None
    exclusiveMaximum: float | None = None
    items: InputSpec | None = None
    minItems: int | None = Field(None, ge=0)
    maxItems: int | None = Field(None, ge=0)
    properties: dict[str, InputSpec] | None = None
    required: list[str] | None = Field(None, description="Of the properties; names those that must be given.")
    additionalProperties: bool | None = None
    anyOf: list[InputSpec] | None = Field(None, min_length=1, description="One of these must fit, too.")

    @property
    def has_default(self) -> bool:
        """Whether a run may leave it out."""
        return "default" in self.model_fields_set


def check_value(spec: InputSpec, value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every way in which a value does not fit, as (path, what is wrong)."""
    if spec.type and not _fits(spec.type, value):
        yield path, f"must be {article(spec.type)}, not {type_name(value)}."
        return
    if spec.enum is not None and not any(type(value) is type(one) and value == one for one in spec.enum):
        yield path, f"must be one of {', '.join(map(repr, spec.enum))}, not {_short(value)}."
    if spec.anyOf is not None:
        yield from _check_any(spec.anyOf, value, path)
    if isinstance(value, str):
        yield from _check_text(spec, value, path)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _check_number(spec, value, path)
    elif isinstance(value, list):
        yield from _bounds(len(value), "items", spec.minItems, spec.maxItems, path)
        for index, item in enumerate(value if spec.items else ()):
            assert spec.items is not None
            yield from check_value(spec.items, item, (*path, index))
    elif isinstance(value, Mapping):
        yield from _check_object(spec, value, path)


def check_spec(spec: InputSpec) -> Iterator[tuple[Path, str]]:
    """What is wrong with a declaration itself: a pattern that does not compile, or a default that does not fit."""
    if spec.pattern is not None:
        try:
            _pattern(spec.pattern)
        except SchemaError as error:
            reason = " ".join(str(error).split())[:200]
            yield ("pattern",), f"is not a regular expression that can be used: {reason}"
            return
    for name, inner in (spec.properties or {}).items():
        yield from ((("properties", name, *path), message) for path, message in check_spec(inner))
    for name in spec.required or ():
        if name not in (spec.properties or {}):
            yield ("required",), f"names {name!r}, which is not among the properties."
    if spec.items:
        yield from ((("items", *path), message) for path, message in check_spec(spec.items))
    for index, one in enumerate(spec.anyOf or ()):
        yield from ((("anyOf", index, *path), message) for path, message in check_spec(one))
    if spec.default is not None:
        yield from ((("default", *path), message) for path, message in check_value(spec, spec.default))


def type_name(value: Any) -> str:
    """What a value is, in JSON's words and with an article."""
    for name in ("null", "boolean", "integer", "number", "string", "array", "object"):
        if _fits(name, value):
            return article(name)
    return type(value).__name__


def _fits(name: str, value: Any) -> bool:
    match name:
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, Mapping)
    return value is None


def _check_any(specs: Sequence[InputSpec], value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Nothing if one fits; else the faults of the one that nearly does: of the right type, with the fewest."""
    tried = [list(check_value(one, value, path)) for one in specs]
    if not all(tried):
        return
    near = [faults for one, faults in zip(specs, tried, strict=True) if one.type is None or _fits(one.type, value)]
    if near:
        yield from min(near, key=len)
    else:
        types = dict.fromkeys(article(one.type) for one in specs if one.type is not None)
        yield path, f"must be {' or '.join(types)}, not {type_name(value)}."


def _check_text(spec: InputSpec, value: str, path: Path) -> Iterator[tuple[Path, str]]:
    yield from _bounds(len(value), "characters", spec.minLength, spec.maxLength, path)
    if spec.pattern is not None:
        try:
            _pattern(spec.pattern).validate_python(value)
        except ValidationError:
            yield path, f"must match {spec.pattern!r}, and {_short(value)} does not."


@cache
def _pattern(pattern: str) -> TypeAdapter[str]:
    """pydantic's regular expressions take linear time, so that a pattern from outside cannot hang the process."""
    return TypeAdapter(Annotated[str, Field(pattern=pattern)])


def _check_number(spec: InputSpec, value: float, path: Path) -> Iterator[tuple[Path, str]]:
    if spec.minimum is not None and value < spec.minimum:
        yield path, f"must be at least {spec.minimum:g}, not {value}."
    if spec.maximum is not None and value > spec.maximum:
        yield path, f"must be at most {spec.maximum:g}, not {value}."
    if spec.exclusiveMinimum is not None and value <= spec.exclusiveMinimum:
        yield path, f"must be more than {spec.exclusiveMinimum:g}, not {value}."
    if spec.exclusiveMaximum is not None and value >= spec.exclusiveMaximum:
        yield path, f"must be less than {spec.exclusiveMaximum:g}, not {value}."


def _check_object(spec: InputSpec, value: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, str]]:
    known = spec.properties or {}
    for name in spec.required or ():
        if name not in value:
            yield (*path, name), "is missing."
    for name, item in value.items():
        if name in known:
            yield from check_value(known[name], item, (*path, name))
        elif spec.additionalProperties is False:
            yield (*path, name), f"is not known here. {did_you_mean(name, known)}"


def _bounds(size: int, what: str, low: int | None, high: int | None, path: Path) -> Iterator[tuple[Path, str]]:
    if low is not None and size < low:
        yield path, f"must have at least {low} {what}, not {size}."
    if high is not None and size > high:
        yield path, f"must have at most {high} {what}, not {size}."


def article(name: str) -> str:
    return name if name == "null" else f"{'an' if name[0] in 'aio' else 'a'} {name}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def dotted(path: Iterable[str | int]) -> str:
    """A key path as people write it: steps.read.needs[0]."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A remedy with the nearest known word, or with all of them if none is near."""
    words = sorted(known)
    near = difflib.get_close_matches(word, words, n=1)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Known here: {', '.join(words)}." if words else "None is known here."
