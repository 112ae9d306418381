"""Approvals: finding the calls that wait for a human's leave, and deciding on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from opspawn.contracts.question import AskedQuestion
from opspawn.contracts.store import Page, Query
from opspawn.errors import InvalidInput, NotFound
from opspawn.ops.engine.questions import Answering


class Approving(Answering):
    """The part of the engine that takes decisions on calls. An approval is a question of its own kind."""

    async def approvals(self, query: Query) -> Page[AskedQuestion]:
        """Approvals that match, newest first, by `task`, `root`, `state`, `to`."""
        return await self.questions(replace(query, where={**query.where, "kind": "approval"}))

    async def approval(self, id: str) -> AskedQuestion:
        """An approval. Raises: NotFound; InvalidInput: the question is another one."""
        try:
            asked = await self.question(id)
        except NotFound:
            raise NotFound("approval", id, remedy="See 'opspawn approvals list'.") from None
        if asked.question.kind != "approval":
            raise InvalidInput(f"{id} asks for no approval.", remedy="Use 'opspawn questions answer'.")
        return asked

    async def approve(
        self, id: str, *, arguments: Mapping[str, Any] | None = None, always: bool = False, by: str | None = None
    ) -> AskedQuestion:
        """Allow the call, durably. The first decision counts.

        Args:
            arguments: to be used instead; they are journaled with their own digest, and the model is told.
            always: let the same policy not ask about the same tool again in this run, whatever the arguments.
            by: who decides, for the record.

        Raises:
            NotFound. InvalidTransition: decided, expired, or the task has ended. InvalidInput: no approval.
        """
        await self.approval(id)
        value: dict[str, Any] = {"decision": "approve"}
        value |= {} if arguments is None else {"arguments": dict(arguments)}
        value |= {"always": True} if always else {}
        return await self.answer(id, value, by=by)

    async def deny(self, id: str, reason: str = "", *, by: str | None = None) -> AskedQuestion:
        """Refuse the call, durably; the model is told the reason. Raises: as `approve`."""
        await self.approval(id)
        return await self.answer(id, {"decision": "deny", "reason": reason} if reason else {"decision": "deny"}, by=by)
