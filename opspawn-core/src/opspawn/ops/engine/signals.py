"""Sending messages to tasks."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from opspawn.agentkit.questions import MAX_TO
from opspawn.contracts.events import NewEvent
from opspawn.contracts.store import Append, Operation, Task, Wake
from opspawn.errors import InvalidInput, InvalidTransition
from opspawn.ops.engine.base import Desk, as_json


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
            NotFound: no such task. InvalidTransition: it has ended. InvalidInput: the data is not JSON, or a name or
                id is empty or longer than 200 characters.
        """
        for what, word in (("a name", name), ("an id", id)):
            if word is not None and not 0 < len(word) <= MAX_TO:
                raise InvalidInput(f"A signal has {what} of 1 to {MAX_TO} characters.")
        plain = as_json(f"The data of the signal {name!r}", data)
        found = await self.task(task)
        if not found.state.terminal:
            told = {"id": id or uuid4().hex, "name": name, "data": plain}
            told |= {} if by is None else {"by": by}
            # Not urgent: a run that waits for a signal waits for any wake, and one between two attempts waits on.
            operations: list[Operation] = [Append(task, NewEvent("signal.received", told)), Wake(task)]
            receipt = await self._commit(operations, found.queue)
            if receipt.positions[0]:
                return found
            found = await self.task(task)
        raise InvalidTransition(f"Task {task} is {found.state}; nobody hears the signal {name!r} any more.")
