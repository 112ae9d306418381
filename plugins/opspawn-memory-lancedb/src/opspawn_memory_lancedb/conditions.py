"""Selections and filters as conditions of a query, of numbers and digests only.

A condition may take more than is meant, never less: where `exact` is False, `matches` of the contract has to decide.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from opspawn.contracts.filters import And, Eq, Exists, Filter, In, Not, Or, Range, Scalar
from opspawn.contracts.memory import Selection
from opspawn.memories.items import key_of
from opspawn_memory_lancedb.rows import TIMES, digest, has, key_number, there

#: The condition that everything fits.
ALL = "true"


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition, and whether it says all that is meant."""

    sql: str
    exact: bool = True


def where(select: Selection, at: int, *, expiring: bool = True) -> Condition:
    """What a selection means at a time, in microseconds; `expiring` says that some items may have expired."""
    parts = [f"(expires is null or expires > {at})"] if expiring else []
    if not select.below:
        parts.append(f"space = '{digest(key_of(select.namespace))}'")
    elif select.namespace:
        parts.append(f"array_has(spaces, '{digest(key_of(select.namespace))}')")
    if select.ids:
        if select.below:
            listed = ", ".join(f"'{id.encode().hex()}'" for id in select.ids)
            parts.append(f"encode(id, 'hex') in ({listed})")
        else:
            parts.append(f"key in ({', '.join(str(key_number(select.namespace, id)) for id in select.ids)})")
    for name in ("subject", "session"):
        if (value := getattr(select, name)) is not None:
            parts.append(_field(f"@{name}", value))
    if select.older_than_s is not None:
        parts.append(f"created <= {at - round(select.older_than_s * 1_000_000)}")
    exact = True
    if select.filter is not None:
        told = condition_of(select.filter)
        exact = told.exact
        parts.append(told.sql)
    return Condition(" and ".join(parts) or ALL, exact)


def condition_of(filter: Filter) -> Condition:
    """What a filter means."""
    match filter:
        case And(filters):
            return _joined(" and ", "true", filters)
        case Or(filters):
            return _joined(" or ", "false", filters)
        case Not(inner):
            told = condition_of(inner)
            return Condition(f"(not {told.sql})") if told.exact else Condition("true", False)
        case Range():
            return Condition("true", False)
        case Exists("@confidence", exists):
            return Condition("true" if exists else "false")
        case Eq("@confidence", value):
            return _sure((value,))
        case In("@confidence", values):
            return _sure(values)
        case Exists(field, exists):
            if field in TIMES:
                return Condition("true" if exists else "false")
            return Condition(_has(there(field)) if exists else f"(not {_has(there(field))})")
        case Eq(field, value):
            return Condition("true", False) if field in TIMES else Condition(_has(has(field, value)))
        case In(field, values):
            if field in TIMES:
                return Condition("true", False)
            return Condition(_one_of(has(field, value) for value in values) if values else "false")


def _sure(values: Iterable[Scalar]) -> Condition:
    """Confidence is a number from 0 to 1, and no number is a text or true."""
    numbers = [one for one in values if isinstance(one, int | float) and not isinstance(one, bool) and 0 <= one <= 1]
    return Condition(f"confidence in ({', '.join(repr(float(one)) for one in numbers)})" if numbers else "false")


def _joined(word: str, none: str, filters: Iterable[Filter]) -> Condition:
    told = [condition_of(one) for one in filters]
    if not told:
        return Condition(none)
    return Condition(f"({word.join(one.sql for one in told)})", all(one.exact for one in told))


def _field(name: str, value: str) -> str:
    return _has(has(name, value)) if value else f"(not {_has(there(name))})"


def _has(one: str) -> str:
    return f"array_has(fields, '{one}')"


def _one_of(digests: Iterable[str]) -> str:
    listed = ", ".join(f"'{one}'" for one in digests)
    return f"array_has_any(fields, make_array({listed}))"
