"""The tables of legal moves of agents and sessions, and the words that are understood for their states."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from opspawn.agentkit.plain import kept_json
from opspawn.contracts.clock import iso
from opspawn.contracts.lifecycle import AgentState, SessionState
from opspawn.errors import InvalidInput, InvalidTransition

_A, _S = AgentState, SessionState

#: From a reported state to those that may follow. `paused` is no report and lies over these: see `ops.agents`.
AGENT_MOVES: Mapping[AgentState, frozenset[AgentState]] = {
    _A.UNKNOWN: frozenset({_A.INITIALIZING, _A.IDLE, _A.ACTIVE, _A.ERROR}),
    _A.INITIALIZING: frozenset({_A.IDLE, _A.ERROR}),
    _A.IDLE: frozenset({_A.ACTIVE, _A.FINISHED, _A.ERROR}),
    _A.ACTIVE: frozenset({_A.IDLE, _A.FINISHED, _A.ERROR}),
    _A.ERROR: frozenset({_A.INITIALIZING, _A.IDLE}),
    _A.FINISHED: frozenset({_A.INITIALIZING, _A.IDLE}),
}
#: An agent in any other state gets no task.
SERVED = frozenset({_A.UNKNOWN, _A.IDLE, _A.ACTIVE})

SESSION_MOVES: Mapping[SessionState, frozenset[SessionState]] = {
    _S.WAITING: frozenset({_S.PROCESSING, _S.PAUSED, _S.COMPLETED, _S.ERROR, _S.CANCELLED}),
    _S.PROCESSING: frozenset({_S.WAITING, _S.PAUSED, _S.COMPLETED, _S.ERROR, _S.CANCELLED}),
    _S.PAUSED: frozenset({_S.WAITING, _S.PROCESSING, _S.COMPLETED, _S.ERROR, _S.CANCELLED}),
    _S.COMPLETED: frozenset(),
    _S.ERROR: frozenset(),
    _S.CANCELLED: frozenset(),
}

_AGENT_WORDS = {"busy": _A.ACTIVE}
#: The words of the first ops-core.
_SESSION_WORDS = {"started": _S.WAITING, "running": _S.PROCESSING, "failed": _S.ERROR}

#: How far ahead of our clock a report may be dated: an agent's clock is not ours.
AHEAD = timedelta(minutes=5)
MAX_DETAILS_BYTES = 64 * 1024


def agent_state(word: str) -> AgentState:
    """The state that a word means. Raises: InvalidInput."""
    folded = word.strip().lower() if isinstance(word, str) else ""
    if folded in _AGENT_WORDS:
        return _AGENT_WORDS[folded]
    try:
        return AgentState(folded)
    except ValueError:
        known = ", ".join(AgentState)
        raise InvalidInput(f"An agent has no state {word!r}.", remedy=f"Choose one of: {known}.") from None


def session_state(word: str) -> SessionState:
    """The state that a word means. Raises: InvalidInput."""
    folded = word.strip().lower() if isinstance(word, str) else ""
    if folded in _SESSION_WORDS:
        return _SESSION_WORDS[folded]
    try:
        return SessionState(folded)
    except ValueError:
        known = ", ".join(SessionState)
        raise InvalidInput(f"A session has no status {word!r}.", remedy=f"Choose one of: {known}.") from None


def check_agent_move(agent: str, before: AgentState, after: AgentState) -> None:
    """Return if the move is legal. Raises: InvalidTransition."""
    if after is before or after in AGENT_MOVES[before]:
        return
    may = ", ".join(sorted(AGENT_MOVES[before]))
    raise InvalidTransition(
        f"The agent {agent!r} is {before} and cannot become {after}.", remedy=f"From {before} it may become {may}."
    )


def check_session_move(session: str, before: SessionState, after: SessionState) -> None:
    """Return if the move is legal. Raises: InvalidTransition."""
    if after is before or after in SESSION_MOVES[before]:
        return
    if before.terminal:
        raise InvalidTransition(f"The session {session!r} has ended: it is {before}.", remedy="Start a new session.")
    may = ", ".join(sorted(SESSION_MOVES[before]))
    raise InvalidTransition(
        f"The session {session!r} is {before} and cannot become {after}.", remedy=f"From {before} it may become {may}."
    )


def moment(given: datetime | str | None, *, now: datetime) -> datetime | None:
    """The time that a report is dated, aware UTC; None for none. Raises: InvalidInput: no time, or one to come."""
    if given is None:
        return None
    remedy = "Give ISO 8601 with an offset, e.g. 2026-11-26T12:00:00Z, or leave it out for now."
    if isinstance(given, str):
        text = given[:60]
        try:
            given = datetime.fromisoformat(given)
        except ValueError:
            raise InvalidInput(f"The timestamp {text!r} is no time.", remedy=remedy) from None
    if not isinstance(given, datetime):
        raise InvalidInput(f"The timestamp {given!r} is no time.", remedy=remedy)
    if given.tzinfo is None:
        raise InvalidInput(f"The timestamp {given.isoformat()!r} does not say of which zone it is.", remedy=remedy)
    try:
        given = given.astimezone(UTC)
    except OverflowError:
        raise InvalidInput(f"The timestamp {given.isoformat()!r} is no time.", remedy=remedy) from None
    if given > now + AHEAD:
        raise InvalidInput(
            f"The timestamp {iso(given)} is yet to come: here it is {iso(now)}.",
            remedy="Set the clock of the machine that reports.",
        )
    return given


def plain_object(what: str, given: Any) -> dict[str, Any]:
    """A JSON object, checked. Raises: InvalidInput."""
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise InvalidInput(f"The {what} must be a JSON object.", remedy='Write it like {"reason": "..."}.')
    plain = plain_value(what, dict(given))
    assert isinstance(plain, dict)
    return plain


def plain_value(what: str, given: Any) -> Any:
    """A JSON value of at most `MAX_DETAILS_BYTES`, checked. Raises: InvalidInput."""
    try:
        plain, size = kept_json(given)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"The {what} must be plain JSON: {error}.") from error
    if size > MAX_DETAILS_BYTES:
        raise InvalidInput(f"The {what} must fit into {MAX_DETAILS_BYTES} bytes, not {size}.", remedy="Keep it short.")
    return plain
