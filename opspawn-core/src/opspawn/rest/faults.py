"""What is wrong with a request, in words: a pointer to the place, what should be there, and the word that was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic.alias_generators import to_camel

_SUBJECT = re.compile(r"^(Input|Value|String|List|Dictionary|Object) should ")

#: Arguments in Python that go by another name here; the others only change to camelCase.
_MEMBERS = {"agent": "agentId", "session": "sessionId", "idempotency_key": "Idempotency-Key"}


def member_of(argument: str) -> str:
    """What a Python argument is called in requests."""
    return _MEMBERS.get(argument) or to_camel(argument)


def faults_of(errors: Sequence[Any], route: Any) -> list[dict[str, str]]:
    """Pydantic's errors as `{"pointer", "detail"}`, unknown members first: they often explain missing ones."""
    ordered = sorted(errors, key=lambda error: error["type"] != "extra_forbidden")
    return [{"pointer": _pointer(error["loc"]), "detail": _detail(error, route)} for error in ordered]


def unknown(word: str, known: Iterable[str]) -> str:
    """The words for a name that is not known, with the nearest that is, or else with all."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    remedy = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(names) or 'none'}."
    return f"is not known here. {remedy}"


def _detail(error: Any, route: Any) -> str:
    kind, message = error["type"], str(error["msg"])
    if kind == "missing":
        return "is missing."
    if kind == "extra_forbidden":
        return unknown(str(error["loc"][-1]), _members(route) if len(error["loc"]) == 2 else ())
    if kind in ("value_error", "assertion_error"):
        return f"{message.partition(', ')[2]}."
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return "must be a JSON object."
    return f"{_SUBJECT.sub('must ', message)}."


def _members(route: Any) -> list[str]:
    """The members of the body that a route takes, as they are written."""
    body = getattr(route, "body_field", None)
    model = body.field_info.annotation if body is not None else None
    return [field.alias or name for name, field in getattr(model, "model_fields", {}).items()]


def _pointer(place: tuple[int | str, ...]) -> str:
    where, *rest = place
    return f"{where}/{'/'.join(str(part) for part in rest)}" if rest else str(where)
