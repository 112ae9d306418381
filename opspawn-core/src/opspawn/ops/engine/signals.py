"""Sending messages to tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from opspawn.agentkit.questions import MAX_TO
from opspawn.contracts.events import NewEvent
from opspawn.contracts.ids import check_key
from opspawn.contracts.store import Append, Operation, Task, Wake
from opspawn.errors import Conflict, IdempotencyMismatch, InvalidInput, InvalidTransition
from opspawn.ops.engine.base import Desk, as_json
from opspawn.ops.engine.checks import check_by
from opspawn.ops.signal_marks import signal_mark


class Signalling(Desk):
    """The part of the engine that sends signals."""

    async def signal(
        self, task: str, name: str, data: Any = None, *, id: str | None = None, by: str | None = None
    ) -> Task:
        """Send a signal to a task, durably, whatever the task does now, and return the task.

        Args:
            name: what a run waits for by `ctx.wait(name)`.
            data: any JSON.
            id: tells this signal from others: the same id again is the same signal, and counts once.

        Raises:
            NotFound: no such task. InvalidTransition: it has ended. InvalidInput: the data is not JSON, the name is
                empty or longer than 200 characters, the id is no key, or `by` is no text of at most 200 characters.
            IdempotencyMismatch: the id was that of another signal.
        """
        if not isinstance(name, str) or not 0 < len(name) <= MAX_TO:
            raise InvalidInput(f"A signal has a name of 1 to {MAX_TO} characters.")
        if id is not None:
            check_key("id", id)
        check_by(by)
        plain = as_json(f"The data of the signal {name!r}", data)
        found = await self.task(task)
        if not found.state.terminal:
            told = {"id": id or uuid4().hex, "name": name, "data": plain}
            told |= {} if by is None else {"by": by}
            # Not urgent: a run that waits for a signal waits for any wake, and one between two attempts waits on.
            operations: list[Operation] = [Append(task, NewEvent("signal.received", told)), Wake(task)]
            if id is not None:
                operations.append(signal_mark(found, id))  # guard: a repeated signal changes nothing
            try:
                if (await self._commit(operations, found.queue)).positions[0]:
                    return found
            except Conflict:
                if id is None:
                    raise
            found = await self.task(task)
        if id is not None and (before := await self._received(task, id)) is not None:
            if (before["name"], before.get("data")) != (name, plain):
                raise IdempotencyMismatch(
                    f"Task {task} got another signal with the id {id!r} before: {before['name']!r}.",
                    remedy="Send the same signal again, or choose a new id.",
                )
            return found
        raise InvalidTransition(f"Task {task} {found.state.words}; nobody hears the signal {name!r} any more.")

    async def _received(self, task: str, id: str) -> Mapping[str, Any] | None:
        """What the journal of a task says of a signal; None if it did not come."""
        for event in await self._store.journal(task):
            if event.type == "signal.received" and event.data["id"] == id:
                return event.data
        return None
