"""The children of one life of a run: made in as few commits as a store takes, and waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from opspawn.agentkit.budget import MAX_TASK_DEPTH, amount_of
from opspawn.agentkit.children import ChildAsked, Children
from opspawn.contracts.store import Hold, Operation, Task
from opspawn.errors import BudgetExceeded
from opspawn.ops import transitions
from opspawn.ops.ids import agent_of, child_id
from opspawn.ops.retry_plans import NO_PLAN, ONCE, Plan, plan_of, sample_input
from opspawn.ops.run.history import History
from opspawn.ops.run.spawning import NewChild, batches

#: The concurrency keys that a task of a handler holds.
Holds = Callable[[str], tuple[Hold, ...]]


class Parent(Protocol):
    """What the children need of the journal. Each method raises Interrupted when this life may not go on."""

    task: Task
    history: History

    def held(self) -> None:
        """Return if an effect may begin."""
        ...

    async def accept(self, handler: str, input: Any) -> Any:
        """The input to record for a child. Raises: NotFound, InvalidInput."""
        ...

    async def write(self, operations: Sequence[Operation]) -> None:
        """Commit."""
        ...


class Offspring:
    """The children that `parent` has and makes. `ring` is called with their queue after some were made; `holds` says
    what the children of a handler hold while they run.
    """

    def __init__(self, parent: Parent, holds: Holds, ring: Callable[[str], None]) -> None:
        self._parent = parent
        self._holds = holds
        self._ring = ring
        self._depth = plan_of(parent.task).depth
        self._making: set[asyncio.Future[None]] = set()
        self._waiters: dict[str, tuple[Children, int]] = {}  # by child: who waits for it, and as which of them

    async def spawn(self, wanted: Sequence[ChildAsked], fresh: Sequence[ChildAsked]) -> Children:
        """The children, of which those that are `fresh` are made before. Raises: Interrupted, and as `_make`."""
        if fresh:  # shielded, so that of a commit in flight is known which children it made
            making = asyncio.ensure_future(self._make(fresh))
            self._making.add(making)
            making.add_done_callback(self._made)
            await asyncio.shield(making)
        known, ends = self._parent.history.children, self._parent.history.child_ends
        children = Children(len(wanted))
        for index, one in enumerate(wanted):
            id = known[one.asked.key].child
            if id in ends:
                children.ended(index, ends[id])
            else:
                self._waiters[id] = children, index
        return children

    def ended(self, child: str) -> bool:
        """Tell whoever waits for a child that it has ended; whether they can go on now."""
        children, index = self._waiters.pop(child, (None, 0))
        return children is not None and children.ended(index, self._parent.history.child_ends[child])

    async def settle(self) -> None:
        """Once the life is closed, return when it is known which children there are."""
        if self._making:
            await asyncio.gather(*self._making, return_exceptions=True)

    def child(
        self, key: str, id: str, handler: str, input: Any, timeout_s: float | None = None, plan: Plan = NO_PLAN
    ) -> Task:
        """A child that is to be made at a key."""
        task = self._parent.task
        return Task(
            id=id,
            handler=handler,
            root=task.root,
            queue=task.queue,
            priority=task.priority,
            parent=task.id,
            agent=agent_of(handler) or task.agent,
            session=task.session,
            input=input,
            retry=replace(plan, depth=self._depth + 1).to_json(),
            timeout_s=timeout_s,
            labels=task.labels,
            strict=task.strict,
            deadline=task.deadline,
            retry_of=self._parent.history.former_children.get(key),
            holds=self._holds(handler),
        )

    async def _make(self, wanted: Sequence[ChildAsked]) -> None:
        """Raises: BudgetExceeded: too deep. NotFound, InvalidInput: a handler does not take what it is to get."""
        parent, history = self._parent, self._parent.history
        if self._depth >= MAX_TASK_DEPTH:
            raise BudgetExceeded(
                f"{wanted[0].handler!r} would be more than {MAX_TASK_DEPTH} tasks deep.",
                limit="depth",
                allowed=MAX_TASK_DEPTH,
                spent=self._depth,
                remedy="Let it not start itself without end, or start a tree of its own.",
            )
        for batch in batches([await self._new(one) for one in wanted]):
            parent.held()
            await parent.write([step for new in batch for step in transitions.spawn(parent.task, *new)])
            for new in batch:
                history.spawned(new.spawned)
            self._ring(parent.task.queue)

    async def _new(self, one: ChildAsked) -> NewChild:
        parent, key, options = self._parent, one.asked.key, one.options
        input = await parent.accept(one.handler, one.input)
        if options.fallback is not None:
            await parent.accept(options.fallback, sample_input(one.input))
        plan = Plan(options.retry or ONCE, options.fallback)
        if options.budget is not None:
            plan = replace(plan, budget=options.budget.to_json())
        id = child_id(parent.task.id, key, parent.history.lives.get(key, 0))
        told: dict[str, Any] = {"key": key, "child": id, "name": one.handler, "digest": one.asked.digest}
        if options.budget is not None:
            told["lent"] = amount_of(options.budget).to_json()
        return NewChild(self.child(key, id, one.handler, input, options.timeout_s, plan), told)

    def _made(self, making: asyncio.Future[None]) -> None:
        self._making.discard(making)
        if not making.cancelled():
            making.exception()  # whoever asked for the children may be gone
