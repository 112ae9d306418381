"""What a host passes on to its engine: talking to tasks, and letting them stand still."""

from __future__ import annotations

from typing import Any

from opspawn.contracts.question import AskedQuestion
from opspawn.contracts.store import Page, Query, Task
from opspawn.ops.engine import Engine


class Hosted:
    """The part of the host that only passes on. See `opspawn.contracts.transport.Host` for what it promises."""

    _engine: Engine

    async def signal(
        self, task: str, name: str, data: Any = None, *, id: str | None = None, by: str | None = None
    ) -> Task:
        return await self._engine.signal(task, name, data, id=id, by=by)

    async def pause(self, id: str, *, by: str | None = None) -> Task:
        return await self._engine.pause(id, by=by)

    async def resume(self, id: str, *, by: str | None = None) -> Task:
        return await self._engine.resume(id, by=by)

    async def questions(self, query: Query) -> Page[AskedQuestion]:
        return await self._engine.questions(query)

    async def question(self, id: str) -> AskedQuestion:
        return await self._engine.question(id)

    async def answer(self, id: str, value: Any, *, by: str | None = None) -> AskedQuestion:
        return await self._engine.answer(id, value, by=by)
