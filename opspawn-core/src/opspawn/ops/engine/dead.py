"""The dead: tasks that failed and have no attempt left, and what somebody makes of them.

A task is dead while nothing has followed it: one that was retried, or whose fallback was asked by hand and did not
fail, is in the list no more; its follower answers for it. Children are not listed: their parent has dealt with them.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from opspawn.contracts.store import Page, Query, Task, TaskState
from opspawn.contracts.transport import DeadQuery
from opspawn.errors import Conflict, InvalidInput, InvalidTransition
from opspawn.ops import transitions
from opspawn.ops.engine.accepting import Accepting
from opspawn.ops.engine.deciding import Deciding
from opspawn.ops.ids import derived_id
from opspawn.ops.known import refuse_unknown_agent, refuse_unknown_place
from opspawn.ops.retry_plans import fallback_input, plan_of

#: How many failed tasks one look at the list may pass over, and how many are looked at, or retried, at once.
_MOST_SEEN = 10_000
_AT_ONCE = 50
#: What a fallback that was asked by hand is to the dead task.
_BY_HAND = "fallback by hand"
#: The most that one bulk retry takes.
MAX_BULK = 1000


class Dead(Accepting, Deciding):
    """The part of the engine that deals with the dead."""

    async def dead(self, query: DeadQuery) -> Page[Task]:
        """Dead tasks, newest first; a page may be short while its cursor tells that there is more."""
        where = {"handler": query.handler, "agent": query.agent, "queue": query.queue, "state": str(TaskState.FAILED)}
        asked = {name: value for name, value in where.items() if value is not None}
        seen, cursor = 0, query.cursor
        while True:
            page = await self._store.find_tasks(Query(where=asked, limit=query.limit, cursor=cursor))
            seen, cursor = seen + len(page.items), page.cursor
            candidates = [task for task in page.items if _matches(task, query)]
            followed = await asyncio.gather(*(self._followed(task) for task in candidates))
            found = [task for task, one in zip(candidates, followed, strict=True) if not one]
            if found or cursor is None or seen >= _MOST_SEEN:
                return Page(found, cursor)

    async def all_dead(self, query: DeadQuery, limit: int) -> tuple[list[Task], bool]:
        """The dead that match, newest first, at most `limit`; and whether there may be more."""
        found: list[Task] = []
        page: Page[Task] | None = None
        while len(found) < limit and (page is None or page.cursor is not None):
            page = await self.dead(replace(query, limit=200, cursor=None if page is None else page.cursor))
            found += page.items
        return found[:limit], len(found) > limit or (page is not None and page.cursor is not None)

    async def _followed(self, task: Task) -> bool:
        if await self._store.get_task(derived_id(task.id, transitions.AGAIN)) is not None:
            return True
        fallback = await self._store.get_task(derived_id(task.id, _BY_HAND))
        return fallback is not None and fallback.state not in (TaskState.FAILED, TaskState.CANCELLED)

    async def retry_all(
        self,
        query: DeadQuery,
        *,
        everything: bool = False,
        limit: int = 100,
        from_scratch: bool = False,
        retry_count: int | None = None,
    ) -> tuple[list[Task], bool]:
        """Retry the dead that match, newest first, at most `limit`; the new tasks, and whether there may be more.

        To ask again after a lost reply does nothing twice: what was retried is dead no more.

        Raises: InvalidInput: `limit` is not 1 to 1000, `retry_count` makes no sense, or the query has no filter and
            `everything` does not say that all are meant; nothing was retried.
            NotFound: there is no such handler, agent or queue.
        """
        if not (query.filters or everything):
            raise InvalidInput(
                "No filter says which of the dead are to be retried.",
                remedy="Give at least one, e.g. an error type or a time; or say that all are meant.",
            )
        if not 1 <= limit <= MAX_BULK:
            raise InvalidInput(f"The limit is {limit}.", remedy=f"Give one from 1 to {MAX_BULK}.")
        dead, more = await self.all_dead(query, limit)
        if not dead:
            await self._refuse_unknown(query)
        fresh: list[Task] = []
        for start in range(0, len(dead), _AT_ONCE):
            chunk = dead[start : start + _AT_ONCE]
            answers = await asyncio.gather(
                *(self.retry(task.id, retry_count, from_scratch=from_scratch) for task in chunk), return_exceptions=True
            )
            for answer in answers:
                if isinstance(answer, Task):
                    fresh.append(answer)
                elif not isinstance(answer, InvalidTransition):  # somebody else has dealt with it meanwhile
                    raise answer
        return fresh, more

    async def _refuse_unknown(self, query: DeadQuery) -> None:
        if query.agent is not None:
            await refuse_unknown_agent(self._store, query.agent)
        await refuse_unknown_place(self._store, handler=query.handler, queue=query.queue)

    async def fallback_task(self, id: str, handler: str | None = None) -> Task:
        """Ask another handler about a dead task: a new task, which gets `{"input": ..., "error": {...}}`.

        Args:
            handler: whom to ask; by default the fallback that the task names, e.g. because it was broken before.

        A task has one such follower: to ask again returns it.

        Raises:
            NotFound: no such task or handler. InvalidInput: none is named, or it does not take that. InvalidTransition:
            the task has not failed, is somebody's child, or another handler was asked before.
        """
        task = await self.task(id)
        if task.state is not TaskState.FAILED:
            raise InvalidTransition(f"Task {id} {task.state.words}; only a failed task has a fallback.")
        if task.parent is not None:
            raise InvalidTransition(f"Task {id} belongs to {task.root}.", remedy=f"Ask about the whole: {task.root}.")
        handler = handler or plan_of(task).fallback
        if handler is None:
            raise InvalidInput(f"Task {id} names no fallback.", remedy="Name a handler, e.g. agent/backup.")
        input = self._accepts(handler, fallback_input(task, task.error or {}))
        fresh = transitions.successor(task, derived_id(task.id, _BY_HAND), handler, input)
        fresh = replace(fresh, holds=self._holds(handler))
        try:
            await self._commit(transitions.accept(fresh, follows=task.id), fresh.queue)
        except Conflict:
            known = await self.task(fresh.id)
            if known.handler != handler:
                raise InvalidTransition(
                    f"{known.handler} was asked about task {id} before: {known.id}.", remedy="Look at that one first."
                ) from None
        return await self.task(fresh.id)


def _matches(task: Task, query: DeadQuery) -> bool:
    """Whether a failed task is meant, as far as the store could not tell."""
    if task.parent is not None or task.ended is None:
        return False
    if query.error_type is not None and (task.error or {}).get("type") != query.error_type:
        return False
    early = query.ended_after is not None and task.ended < query.ended_after
    return not early and (query.ended_before is None or task.ended < query.ended_before)
