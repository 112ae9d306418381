"""Checks questions before they are asked, and answers before they count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from opspawn.agentkit.plain import plain_json
from opspawn.agentkit.retries import LONGEST_SLEEP_S
from opspawn.agentkit.values import InputSpec, check_spec, check_value, dotted
from opspawn.contracts.question import Question, QuestionKind
from opspawn.errors import InvalidInput

MAX_TEXT = 8192
MAX_TO = 200


def make_question(
    text: str,
    choices: Sequence[Any] | None = None,
    schema: Mapping[str, Any] | None = None,
    to: str | None = None,
    *,
    kind: QuestionKind = "question",
    digest: str | None = None,
) -> Question:
    """A question that can be asked. Raises: InvalidInput: says which part of it does not do."""
    if not isinstance(text, str) or not text.strip() or len(text) > MAX_TEXT:
        raise InvalidInput(f"A question is a text of 1 to {MAX_TEXT} characters, not {_short(text)}.")
    if choices is not None and (isinstance(choices, str) or not isinstance(choices, Sequence) or not choices):
        raise InvalidInput(f"The choices of the question {_short(text)} are {_short(choices)}; a list is meant.")
    if choices is not None and schema is not None:
        raise InvalidInput(f"The question {_short(text)} has choices and a schema.", remedy="Give one of them.")
    if to is not None and (not isinstance(to, str) or not 0 < len(to) <= MAX_TO):
        raise InvalidInput(f"A question goes to a role or person of 1 to {MAX_TO} characters, not {_short(to)}.")
    if schema is not None:
        _spec(schema, text)
    try:
        plain = plain_json([list(choices or ()), None if schema is None else dict(schema)])
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"The choices of the question {_short(text)} are not JSON: {error}") from error
    return Question(text, tuple(plain[0]), plain[1], to, kind, digest)


def check_wait(what: str, name: str, timeout_s: float | None) -> None:
    """Refuse what cannot be waited for. Raises: InvalidInput."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_TO:
        raise InvalidInput(f"A {what} has a name of 1 to {MAX_TO} characters, not {_short(name)}.")
    if timeout_s is not None and not 0 <= timeout_s <= LONGEST_SLEEP_S:
        raise InvalidInput(f"A run cannot wait for {timeout_s!r} seconds.", remedy="0 s to 100 years are meant.")


def check_answer(question: Question, value: Any) -> Any:
    """The value as plain JSON. Raises: InvalidInput: it is none of the choices, or does not fit the schema."""
    try:
        value = plain_json(value)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"The answer is not JSON: {error}.", remedy="Give plain JSON.") from error
    if question.choices and not any(type(one) is type(value) and one == value for one in question.choices):
        known = ", ".join(repr(one) for one in question.choices)
        raise InvalidInput(f"The answer {_short(value)} is none of the choices.", remedy=f"Choose one of: {known}.")
    if question.schema is not None:
        spec = _spec(question.schema, question.text)
        faults = [f"{dotted(('answer', *path))}: {message}" for path, message in check_value(spec, value)]
        if faults:
            raise InvalidInput(faults[0], faults=faults)
    return value


def _spec(schema: Mapping[str, Any], text: str) -> InputSpec:
    try:
        spec = InputSpec.model_validate(dict(schema))
    except (ValidationError, TypeError, ValueError) as error:
        reason = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        where = dotted(("schema", *reason["loc"]))
        raise InvalidInput(
            f"The question {_short(text)} has a schema that cannot be used: {where}: {reason['msg']}.",
            remedy="It takes the part of JSON Schema that the inputs of workflows use.",
        ) from error
    for path, message in check_spec(spec):
        raise InvalidInput(f"The question {_short(text)} has a schema that cannot be used: {dotted(path)} {message}")
    return spec


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
