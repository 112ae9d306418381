"""How a session is kept, what a change makes of it, and how it is shown beside what its tasks say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from opspawn.contracts.clock import iso_or_none, time_or_none
from opspawn.contracts.lifecycle import Session, SessionState
from opspawn.contracts.store import Record
from opspawn.errors import InvalidInput
from opspawn.ops.sessions.work import Work
from opspawn.ops.states import plain_object, plain_value, session_state

KIND = "session"
CHANGES = ("status", "metadata", "result", "error")


@dataclass(frozen=True, slots=True)
class Kept:
    """What was written about a session; `declared` is the status that somebody said.

    `version` 0: nothing was. `closing`: somebody is about to declare its end, if none of its tasks is left.
    """

    id: str
    agent: str | None
    workflow: str | None = None
    declared: SessionState = SessionState.WAITING
    metadata: Mapping[str, Any] = field(default_factory=dict)
    result: Any = None
    error: Any = None
    started: datetime | None = None
    ended: datetime | None = None
    updated: datetime | None = None
    version: int = 0
    closing: bool = False

    @classmethod
    def of(cls, record: Record) -> Kept:
        """What a record says."""
        data = record.data
        return cls(
            record.id,
            data["agent"],
            data["workflow"],
            SessionState(data["declared"]),
            data["metadata"],
            data["result"],
            data["error"],
            time_or_none(data["started"]),
            time_or_none(data["ended"]),
            record.updated,
            record.version,
            data.get("closing", False),
        )

    @classmethod
    def unwritten(cls, id: str, work: Work) -> Kept:
        """A session that is known by its tasks alone."""
        handler = work.first.handler
        workflow = handler.removeprefix("workflow/") if handler.startswith("workflow/") else None
        return cls(id, work.first.agent, workflow, started=work.first.created)

    @property
    def record(self) -> Record:
        """What is put into the store."""
        data = {
            "agent": self.agent,
            "workflow": self.workflow,
            "declared": str(self.declared),
            "metadata": dict(self.metadata),
            "result": self.result,
            "error": self.error,
            "started": iso_or_none(self.started),
            "ended": iso_or_none(self.ended),
            "closing": self.closing,
        }
        asked = {"agent": self.agent, "workflow": self.workflow}
        return Record(KIND, self.id, data, fields={name: value for name, value in asked.items() if value is not None})

    def changed(self, said: Mapping[str, Any], now: datetime) -> Kept:
        """With the changes; metadata is merged key by key, and the end is dated once."""
        after = said.get("status", self.declared)
        metadata = dict(self.metadata)
        for name, value in said.get("metadata", {}).items():
            if value is None:
                metadata.pop(name, None)
            else:
                metadata[name] = value
        return replace(
            self,
            declared=after,
            metadata=metadata,
            result=said.get("result", self.result),
            error=said.get("error", self.error),
            ended=self.ended or (now if after.terminal else None),
            closing=self.closing and not after.terminal,
        )

    def shown(self, work: Work | None) -> Session:
        """The session as others see it, beside what its tasks say."""
        state, ended = self.declared, self.ended
        if work is not None and not state.terminal:
            ended = work.ended
            if state is not SessionState.PAUSED or work.state.terminal:
                state = work.state
        updated = self.updated
        if work is not None and work.touched is not None:
            updated = max(updated or work.touched, work.touched)
        return Session(
            self.id,
            self.agent,
            state,
            self.workflow,
            self.metadata,
            self.result,
            self.error,
            self.started,
            updated or self.started,
            ended,
            self.version,
        )


def checked(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes with their values looked at. Raises: InvalidInput."""
    given = plain_object("changes", changes)
    unknown = [name for name in given if name not in CHANGES]
    if unknown:
        words = "is set by the session's end itself" if unknown[0] in ("endTime", "end_time") else "cannot be changed"
        raise InvalidInput(f"{unknown[0]!r} of a session {words}.", remedy=f"Change any of: {', '.join(CHANGES)}.")
    said: dict[str, Any] = {}
    if given.get("status") is not None:
        said["status"] = session_state(given["status"])
    if given.get("metadata") is not None:
        said["metadata"] = plain_object("metadata", given["metadata"])
    for name in ("result", "error"):
        if name in given:
            said[name] = plain_value(name, given[name])
    return said
