"""Filters on memories as data: what they are, how they are written as JSON, and what they mean.

A filter is never a text that is pasted into a query. Its fields are keys of an item's metadata; the item's own are
written with an "@": `@subject`, `@session`, `@source`, `@who`, `@agent`, `@run`, `@confidence`, `@created`, `@updated`.

    {"field": "kind", "eq": "fact"}                     {"field": "year", "min": 2020, "below": 2022}
    {"field": "tag", "in": ["a", "b"]}                  {"field": "note", "exists": false}
    {"and": [..., ...]}   {"or": [..., ...]}            {"not": ...}

Values compare by type: 1 is 1.0 and is neither "1" nor true. A list fits if one of its members does. A field that is
not there, or null, fits nothing but `exists: false` and a `not`. Texts are ordered by code point, as times in ISO 8601
are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from opspawn.contracts.numbers import LARGEST, SMALLEST, TOO_LONG
from opspawn.errors import InvalidInput

Scalar = str | int | float | bool
#: What a filter may consist of, at most.
MAX_NODES = 256
MAX_DEPTH = 16
MAX_VALUES = 1000
OWN = ("subject", "session", "source", "who", "agent", "run", "confidence", "created", "updated")
_RANGE = ("min", "max", "above", "below")


@dataclass(frozen=True, slots=True)
class Eq:
    """The field has this value."""

    field: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class In:
    """The field has one of these values."""

    field: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The field is a number, or a text, within bounds: `min` and `max` belong to it, `above` and `below` do not."""

    field: str
    min: str | float | None = None
    max: str | float | None = None
    above: str | float | None = None
    below: str | float | None = None


@dataclass(frozen=True, slots=True)
class Exists:
    """The field is there, and not null; or with False, it is not."""

    field: str
    exists: bool = True


@dataclass(frozen=True, slots=True)
class And:
    """All of these; of none, everything."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of these; of none, nothing."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Not this."""

    filter: Filter


Filter = Eq | In | Range | Exists | And | Or | Not


def matches(filter: Filter, fields: Mapping[str, Any]) -> bool:
    """Whether a filter fits an item with these metadata, and its own fields under names with an "@"."""
    match filter:
        case And(filters):
            return all(matches(one, fields) for one in filters)
        case Or(filters):
            return any(matches(one, fields) for one in filters)
        case Not(inner):
            return not matches(inner, fields)
    found = fields.get(filter.field)
    if isinstance(filter, Exists):
        return (found is not None) is filter.exists
    members = found if isinstance(found, list | tuple) else (found,)
    if isinstance(filter, Eq):
        return any(_same(one, filter.value) for one in members)
    if isinstance(filter, In):
        return any(_same(one, value) for one in members for value in filter.values)
    return any(_within(filter, one) for one in members)


def _same(one: Any, value: Any) -> bool:
    return _sort(one) == _sort(value) is not None and one == value


def _within(bounds: Range, one: Any) -> bool:
    sort = _sort(one)
    if sort not in ("number", "text"):
        return False
    told = [(name, limit) for name in _RANGE if (limit := getattr(bounds, name)) is not None]
    return all(_sort(limit) == sort and _keeps(name, one, limit) for name, limit in told)


def _keeps(name: str, one: Any, limit: Any) -> bool:
    if name == "min":
        return bool(one >= limit)
    if name == "max":
        return bool(one <= limit)
    return bool(one > limit if name == "above" else one < limit)


def _sort(value: Any) -> str | None:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else None


# -- as JSON -----------------------------------------------------------------------------------------------------------


def filter_to_json(filter: Filter) -> dict[str, Any]:
    """The filter as JSON."""
    match filter:
        case Eq(field, value):
            return {"field": field, "eq": value}
        case In(field, values):
            return {"field": field, "in": list(values)}
        case Exists(field, exists):
            return {"field": field, "exists": exists}
        case And(filters):
            return {"and": [filter_to_json(one) for one in filters]}
        case Or(filters):
            return {"or": [filter_to_json(one) for one in filters]}
        case Not(inner):
            return {"not": filter_to_json(inner)}
        case Range(field):
            bounds = {name: limit for name in _RANGE if (limit := getattr(filter, name)) is not None}
            return {"field": field, **bounds}


def filter_from_json(data: Any) -> Filter:
    """The filter that JSON describes. Raises: InvalidInput: it describes none; names the place."""
    count = [0]
    return _read(data, "filter", 1, count)


def _read(data: Any, place: str, depth: int, count: list[int]) -> Filter:
    count[0] += 1
    if depth > MAX_DEPTH or count[0] > MAX_NODES:
        raise InvalidInput(f"The filter is too large: {MAX_NODES} parts, {MAX_DEPTH} deep, are the most.")
    if not isinstance(data, Mapping):
        raise _fault(place, f"is {type(data).__name__}, no object")
    keys = set(data)
    for key, kind in (("and", And), ("or", Or)):
        if keys == {key}:
            if not isinstance(data[key], list | tuple):
                raise _fault(f"{place}.{key}", "is no list")
            return kind(tuple(_read(one, f"{place}.{key}[{n}]", depth + 1, count) for n, one in enumerate(data[key])))
    if keys == {"not"}:
        return Not(_read(data["not"], f"{place}.not", depth + 1, count))
    field = data.get("field")
    if not isinstance(field, str) or not field:
        raise _fault(place, 'has no "field" that is a text')
    if field.startswith("@") and field[1:] not in OWN:
        raise _fault(f"{place}.field", f"names {field!r}; an item has {', '.join('@' + one for one in OWN)}")
    return _leaf(field, {key: value for key, value in data.items() if key != "field"}, place)


def _leaf(field: str, said: dict[str, Any], place: str) -> Filter:
    match said:
        case {"eq": value} if len(said) == 1:
            return Eq(field, _scalar(value, f"{place}.eq"))
        case {"in": [*values]} if len(said) == 1:
            if len(values) > MAX_VALUES:
                raise _fault(f"{place}.in", f"has {len(values)} values; {MAX_VALUES} are the most")
            return In(field, tuple(_scalar(one, f"{place}.in[{n}]") for n, one in enumerate(values)))
        case {"exists": bool() as exists} if len(said) == 1:
            return Exists(field, exists)
    if said and not said.keys() - set(_RANGE):
        limits = {name: _scalar(value, f"{place}.{name}") for name, value in said.items()}
        if any(isinstance(value, bool) for value in limits.values()):
            raise _fault(place, "has a bound that is neither a number nor a text")
        return Range(field, **limits)
    raise _fault(
        place, 'says neither "eq", "in" (a list), "exists" (true or false), nor "min", "max", "above", "below"'
    )


def _scalar(value: Any, place: str) -> Scalar:
    if not isinstance(value, str | int | float) or (isinstance(value, float) and not isfinite(value)):
        raise _fault(place, "is neither a text, a number, true nor false")
    if isinstance(value, int) and not SMALLEST <= value <= LARGEST:
        raise _fault(place, f"is {TOO_LONG}")
    return value


def checked(filter: Filter | None) -> Filter | None:
    """The filter, looked at as `filter_from_json` looks at one. Raises: InvalidInput."""
    if filter is None:
        return None
    if not isinstance(filter, Eq | In | Range | Exists | And | Or | Not):
        raise InvalidInput(f"{filter!r} is no filter.", remedy='Write e.g. Eq("kind", "fact").')
    try:
        return filter_from_json(filter_to_json(filter))
    except (RecursionError, TypeError, AttributeError) as error:
        raise InvalidInput("The filter cannot be read, or is too deep.") from error


def all_of(filters: Sequence[Filter | None]) -> Filter | None:
    """One filter for several, of which some may be missing."""
    given = tuple(one for one in filters if one is not None)
    return given[0] if len(given) == 1 else And(given) if given else None


def _fault(place: str, words: str) -> InvalidInput:
    return InvalidInput(f"{place} {words}.", remedy='Write e.g. {"field": "kind", "eq": "fact"}.')
