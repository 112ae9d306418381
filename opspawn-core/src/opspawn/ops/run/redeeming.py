"""The using of approvals: by one step, for what was asked about, in time, in the commit that starts it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from opspawn.agentkit.digests import digest
from opspawn.agentkit.log import Grant
from opspawn.agentkit.recorded import Asked
from opspawn.contracts.clock import Clock
from opspawn.contracts.events import NewEvent
from opspawn.contracts.question import AskedQuestion
from opspawn.contracts.store import Append, Operation, Record
from opspawn.errors import Denied
from opspawn.ops.question_records import KIND, change, from_record
from opspawn.ops.run.received import Mail


class Register(Protocol):
    """What the redeemer needs of the journal. Each method raises Interrupted when this life may not go on."""

    clock: Clock

    async def read(self, kind: str, id: str) -> Record | None:
        """A record, or None."""
        ...

    def line(self, event: NewEvent) -> Append:
        """The writing of an event, fenced."""
        ...

    async def write(self, operations: Sequence[Operation]) -> None:
        """Commit."""
        ...


class Redeemer:
    """The approvals that one life of a run uses."""

    def __init__(self, register: Register, mail: Mail) -> None:
        self._register = register
        self._mail = mail
        self._pending: dict[str, list[Operation]] = {}

    async def redeem(self, asked: Asked, grant: Grant, *, with_intent: bool) -> None:
        """Use an approval. A step that has used it may go on: its tries, and its lives after a crash, are covered.

        Raises: Denied.
        """
        kept = await self._check(asked, grant)
        if asked.key in self._mail.used:
            return
        operations: list[Operation] = [] if kept is None else [change(kept, consumed_by=asked.key)]
        operations.append(self._register.line(NewEvent("approval.used", _told(asked, grant))))
        if with_intent:
            self._pending[asked.key] = operations
        else:
            await self._register.write(operations)
            self._mail.used.add(asked.key)

    def pending(self, key: str) -> list[Operation]:
        """What the commit of a step's intent must write, once."""
        operations = self._pending.pop(key, [])
        if operations:
            self._mail.used.add(key)
        return operations

    async def _check(self, asked: Asked, grant: Grant) -> AskedQuestion | None:
        """The question as it is kept, to be marked as used; None for a leave that is not used up, or by now is."""
        if grant.standing:
            return None
        record = None if grant.question is None else await self._register.read(KIND, grant.question)
        kept = None if record is None else from_record(record)
        if kept is None or kept.state != "answered" or kept.question.digest != grant.digest:
            raise _void(asked, grant, "The approval is not one for exactly these arguments.")
        if kept.consumed_by == asked.key:
            return None
        if kept.consumed_by is not None:
            raise _void(asked, grant, f"The approval was used by {kept.consumed_by} before.")
        if kept.expires is not None and kept.expires.timestamp() <= self._register.clock.time():
            raise _void(asked, grant, "The approval came, and was void before it could be used.")
        return kept


def _told(asked: Asked, grant: Grant) -> dict[str, Any]:
    told: dict[str, Any] = {"key": asked.key, "question": grant.question, "digest": grant.digest, "by": grant.by}
    if grant.standing:
        told["standing"] = True
    if grant.arguments is not None:
        told |= {"arguments": grant.arguments, "usedDigest": digest([asked.name, grant.arguments])}
    return told


def _void(asked: Asked, grant: Grant, words: str) -> Denied:
    error = Denied(f"{asked.name!r} was not carried out: it is not allowed. {words}")
    error.detail = {"name": asked.name, "reason": words, "question": grant.question}
    return error
