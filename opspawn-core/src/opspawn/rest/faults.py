"""What is wrong with a request, in words: a pointer to the place, what should be there, and the word that was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

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
    remedy = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(names)}." if names else ""
    return f"is not known here. {remedy}".rstrip()


def _detail(error: Any, route: Any) -> str:
    kind, message = error["type"], str(error["msg"])
    if kind == "missing":
        return "is missing."
    if kind == "extra_forbidden":
        _, *path, word = error["loc"]
        return _unknown(str(word), _model_at(route, path))
    if kind in ("value_error", "assertion_error"):
        return f"{message.partition(', ')[2]}."
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return "must be a JSON object."
    return f"{_SUBJECT.sub('must ', message)}."


def _unknown(word: str, model: type[BaseModel] | None) -> str:
    """The words for a member that an object does not have, and where it belongs if one of its own members has it."""
    members = _members(model)
    for name, field in members.items():
        inner = _model_of(field.annotation)
        if word not in members and word in _members(inner):
            return f"is not known here. It is a member of {name!r}."
    return unknown(word, members)


def _model_at(route: Any, path: Sequence[int | str]) -> type[BaseModel] | None:
    """What the object at a place of the body of a route must be."""
    body = getattr(route, "body_field", None)
    model = _model_of(body.field_info.annotation) if body is not None else None
    for part in path:
        field = _members(model).get(str(part))
        model = None if field is None else _model_of(field.annotation)
    return model


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation, which may be optional."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := _model_of(one)) is not None), None)


def _members(model: type[BaseModel] | None) -> dict[str, FieldInfo]:
    """The members of an object, as they are written."""
    return {} if model is None else {field.alias or name: field for name, field in model.model_fields.items()}


def _pointer(place: tuple[int | str, ...]) -> str:
    where, *rest = place
    return f"{where}/{'/'.join(str(part) for part in rest)}" if rest else str(where)
