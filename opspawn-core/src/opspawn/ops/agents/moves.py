"""The moves of an agent's record: from what is kept, and what somebody says, to what is kept then and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from opspawn.contracts.clock import iso
from opspawn.contracts.events import NewEvent
from opspawn.contracts.lifecycle import AgentState
from opspawn.contracts.store import Append, Operation, Put, SetLane
from opspawn.errors import InvalidTransition
from opspawn.ops.agents.records import Kept, handler_of
from opspawn.ops.states import check_agent_move

#: The record then, and the operations that make it so.
Move = tuple[Kept, Sequence[Operation]]


def paused(kept: Kept, details: dict[str, Any] | None, when: datetime) -> Move | None:
    """Somebody decided that the agent gets no work."""
    if kept.paused is not None and details in (None, kept.pause_details):
        return None
    after = replace(kept, paused=kept.paused or when, pause_details=details)
    return after, written(after, moved(kept, after, details, when))


def remote(kept: Kept, after: AgentState, details: dict[str, Any] | None, when: datetime) -> Move | None:
    """A remote agent reports its state. Raises: InvalidTransition."""
    check_agent_move(kept.agent.id, kept.state, after)
    same = after is kept.state and details in (None, kept.details)
    if same and when == kept.timestamp:
        return None
    then = replace(kept, state=after, details=kept.details if same else details, timestamp=when)
    if same:  # nothing new, but what was said of the time before counts no more
        return then, written(then)
    return then, written(then, moved(kept, then, details, when, said=after))


def local(kept: Kept, after: AgentState, details: dict[str, Any] | None, when: datetime) -> Move | None:
    """An agent of an app is said to be in error, or well again. Raises: InvalidTransition."""
    id = kept.agent.id
    if after not in (AgentState.IDLE, AgentState.ERROR):
        raise InvalidTransition(
            f"The agent {id!r} belongs to an app: whether it is active follows from its tasks.",
            remedy="Report idle or error, or pause it.",
        )
    if kept.paused is not None and after is AgentState.IDLE:
        raise InvalidTransition(f"The agent {id!r} is paused.", remedy=f"Lift it: opspawn agents resume {id}.")
    if after is kept.state and (after is AgentState.IDLE or details in (None, kept.details)):
        return None
    then = replace(kept, state=after, details=details, timestamp=when)
    return then, written(then, moved(kept, then, details, when, said=after))


def lifted(kept: Kept, when: datetime) -> Move:
    """A pause is lifted, or the error of an agent of an app. Raises: InvalidTransition."""
    errs = kept.agent.local and kept.state is AgentState.ERROR
    if kept.paused is None and not errs:
        raise InvalidTransition(f"The agent {kept.agent.id!r} is {kept.shown}; there is nothing to resume.")
    after = replace(kept, paused=None, pause_details=None)
    if errs:
        after = replace(after, state=AgentState.IDLE, details=None)
    return after, written(after, moved(kept, after, {"resumed": True}, when))


def written(kept: Kept, event: NewEvent | None = None) -> list[Operation]:
    """What a commit writes of an agent: its record, what is told of it, and whether its lane is open."""
    told = [Append(None, event, agent=kept.agent.id)] if event is not None else []
    lane = SetLane(handler_of(kept.agent), open=kept.served)
    return [Put(kept.record, expect=kept.version), *told, lane]


def moved(
    before: Kept, after: Kept, details: Mapping[str, Any] | None, when: datetime, said: AgentState | None = None
) -> NewEvent:
    """The event of a change; `said` is what was reported, where that is not what shows."""
    data: dict[str, Any] = {
        "state": str(after.shown),
        "before": str(before.shown),
        "details": None if details is None else dict(details),
        "timestamp": iso(when),
    }
    if said is not None and said is not after.shown:
        data["reported"] = str(said)
    failed = (said or after.shown) is AgentState.ERROR
    return NewEvent(
        "agent.state", data, level="error" if failed else "info", error_type="agent_error" if failed else None
    )


def told(kept: Kept, state: AgentState, details: dict[str, Any] | None, when: datetime, *, late: bool) -> Operation:
    """The event of a report that changed nothing."""
    data = {"state": str(kept.shown), "reported": str(state), "details": details, "late": late}
    return Append(None, NewEvent("agent.state", {**data, "timestamp": iso(when)}), agent=kept.agent.id)
