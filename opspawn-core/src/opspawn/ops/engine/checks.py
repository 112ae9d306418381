"""What is looked at before a task is accepted: each fault is one line that names what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from opspawn.agentkit.retries import LONGEST_SLEEP_S
from opspawn.contracts.budget import Budget
from opspawn.contracts.events import Level
from opspawn.contracts.ids import check_id, check_labels
from opspawn.contracts.store import MAX_PRIORITY, Query
from opspawn.errors import ConfigError, InvalidInput
from opspawn.ops.engine.base import as_json

MAX_BY = 200


def check_ids(**given: str | None) -> None:
    """Refuse what stands in no URL. Raises: InvalidInput."""
    for name, value in given.items():
        if value is not None:
            check_id(name, value)


def check_by(by: object) -> None:
    """Refuse what names nobody. Raises: InvalidInput."""
    if by is None:
        return
    if not isinstance(by, str) or len(by) > MAX_BY:
        raise InvalidInput(f"'by' is no text of at most {MAX_BY} characters.", remedy="Give the name of who decides.")
    try:
        by.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("'by' holds what is no text.", remedy="Give the name of who decides.") from error


def plain_budget(budget: Budget | None) -> dict[str, Any] | None:
    """The budget as it is kept. Raises: InvalidInput: it cannot be given to a task."""
    try:
        return None if budget is None else budget.to_json()
    except ConfigError as error:
        raise InvalidInput(error.message, remedy=error.remedy) from error


def check_place(queue: str, priority: int, labels: Mapping[str, str] | None) -> None:
    """Refuse what nobody would find or take. Raises: InvalidInput."""
    check_id("queue", queue)
    if type(priority) is not int or not -MAX_PRIORITY <= priority <= MAX_PRIORITY:
        words = f"is {priority!r}; a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY} is meant."
        raise InvalidInput(words, argument="priority")
    if labels is not None:
        check_labels(labels)


def check_types(strict: object, fallback: object, budget: object) -> None:
    """Refuse what is of another type than it has to be. Raises: InvalidInput."""
    if type(strict) is not bool:
        raise InvalidInput(f"is {strict!r}; True or False is meant.", argument="strict")
    if not isinstance(fallback, str | None):
        raise InvalidInput(f"is {fallback!r}; the name of a handler is meant.", argument="fallback")
    if not isinstance(budget, Budget | None):
        raise InvalidInput(f"is {budget!r}; a Budget is meant, as Budget(requests=5).", argument="budget")


def check_wait(seconds: object) -> None:
    """Refuse what nobody can wait for; `math.inf` is for ever. Raises: InvalidInput."""
    if type(seconds) not in (int, float) or seconds != seconds:
        raise InvalidInput(f"One waits for a number of seconds, not for {seconds!r}.")


def check_query(
    what: str, query: object, known: Mapping[str, Sequence[str]], fields: Sequence[str] | None = None
) -> None:
    """Refuse a search that finds nothing whatever there is.

    Args:
        known: the values of fields that have only these. fields: by which one may search; None: the store knows.

    Raises: InvalidInput.
    """
    if not isinstance(query, Query):
        raise InvalidInput(
            f"{what} are found by a Query, not by {query!r}.", remedy="Write e.g. Query({'state': '...'})."
        )
    for name, value in query.where.items():
        if fields is not None and name not in fields:
            raise InvalidInput(f"{what} cannot be searched by {name!r}.", remedy=f"Use one of {', '.join(fields)}.")
        if name in known and value not in known[name]:
            words = f"{what} have no {name} {value!r}."
            raise InvalidInput(words, remedy=f"Use one of {', '.join(known[name])}.")


def check_level(level: str | None) -> None:
    """Refuse what no event has. Raises: InvalidInput."""
    if level is not None and level not in get_args(Level):
        raise InvalidInput(f"Events have no level {level!r}.", remedy=f"Use one of {', '.join(get_args(Level))}.")


def check_times(delay_s: float, **limits: float | None) -> None:
    """Refuse what is no time. Raises: InvalidInput."""
    if not isinstance(delay_s, int | float) or not 0 <= delay_s <= LONGEST_SLEEP_S:
        raise InvalidInput(f"is {delay_s!r}; seconds from 0 to 100 years are meant.", argument="delay_s")
    for name, seconds in limits.items():
        if seconds is not None and not (isinstance(seconds, int | float) and 0 < seconds <= LONGEST_SLEEP_S):
            raise InvalidInput(f"is {seconds!r}; seconds above 0, at most 100 years, are meant.", argument=name)
    if (deadline_s := limits["deadline_s"]) is not None and delay_s >= deadline_s:
        raise InvalidInput(
            f"A task that starts after {delay_s:g} s cannot end within {deadline_s:g} s.",
            remedy="Give it a later deadline, or less delay.",
        )


def plain_json(handler: str, input: Any) -> Any:
    """The input of a handler as plain JSON data. Raises: InvalidInput."""
    return as_json(f"The input of {handler!r}", input)
