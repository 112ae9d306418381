"""How a run spreads: children, which are tasks of their own, and branches of its own code, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any, TypeVar

from opspawn.agentkit.acting import Acting, outcome
from opspawn.agentkit.children import ChildAsked, Spawn, SpawnOptions
from opspawn.agentkit.digests import digest
from opspawn.agentkit.failures import spared
from opspawn.agentkit.plain import plain_json
from opspawn.agentkit.recorded import Asked
from opspawn.agentkit.retries import check_retry
from opspawn.agentkit.scopes import Scope, current
from opspawn.agentkit.spending import Spender
from opspawn.contracts.budget import Budget
from opspawn.contracts.retry import Retry
from opspawn.errors import Halt, InvalidInput

T = TypeVar("T")

_TURN = 250  # children, after which others get their turn of the event loop


class Branching(Acting):
    """A run that can have children and branches: see `Context`."""

    def spawn(
        self,
        handler: str,
        input: Any = None,
        *,
        key: str | None = None,
        timeout_s: float | None = None,
        retry: Retry | None = None,
        fallback: str | None = None,
        budget: Budget | None = None,
    ) -> Spawn:
        options = SpawnOptions(key, timeout_s, retry, fallback, budget)
        return Spawn(self._root.run, self._spawn_one, handler, input, options)

    async def _spawn_one(self, spawn: Spawn) -> Any:
        plain = _input_of(spawn)
        with self._asking("spawn", spawn.handler, spawn.options.key, plain) as asked:
            [result] = await self._spawn([ChildAsked(asked, spawn.handler, plain, spawn.options)])
        return result

    async def _spawn_many(self, spawns: Sequence[tuple[str, Spawn]]) -> list[Any]:
        """Make children together, each in the scope of its prefix, and wait for all of them."""
        wanted = []
        for number, (prefix, spawn) in enumerate(spawns, start=1):
            handler, plain = spawn.handler, _input_of(spawn)
            key = Scope(self._root.run, prefix).enter(spawn.options.key or handler)
            what = digest([handler, plain]) if self._log.durable else ""
            wanted.append(ChildAsked(Asked(key, "spawn", handler, what), handler, plain, spawn.options))
            if number % _TURN == 0:
                await asyncio.sleep(0)
        return await self._spawn(wanted)

    async def _spawn(self, wanted: Sequence[ChildAsked], among: int = 1) -> list[Any]:
        """The results of children, in order; `among` is how many there are, with those that others make at once.

        Raises: what the first that failed ended with. BudgetExceeded.
        """
        spender = self._spender
        try:
            if self._policies:
                wanted = [await self._permitted(one) for one in wanted]
            if self._branches.draining:
                await self._branches.gate()
            if spender is not None:
                wanted = await self._lend(spender, wanted, among)
            try:
                with self._branches:
                    children = await self._log.spawn(wanted)
            finally:
                if spender is not None:
                    spender.lent(wanted)
            if not children.over:
                with self._branches.waiting(outside=True, children=children):
                    await children.wait()
        except Halt as halt:
            await self._halt(halt)
        if children.failed is not None:
            outcome(wanted[children.failed].asked, children.ends[children.failed])
        return [outcome(one.asked, end) for one, end in zip(wanted, children.ends, strict=True)]

    async def _lend(self, spender: Spender, wanted: Sequence[ChildAsked], among: int) -> Sequence[ChildAsked]:
        """The children with what each may use. Raises: BudgetExceeded, recorded, now or before."""
        if self._log.durable:
            for one in wanted:
                asked = Asked(f"{one.asked.key}/budget", "budget", one.handler, "")
                if (known := self._log.recall(asked)) is not None:
                    outcome(asked, known)
        return await spender.lend(wanted, among)

    async def _permitted(self, one: ChildAsked) -> ChildAsked:
        """The child as it may be made. Raises: Denied, recorded; Halt."""
        if self._log.spawned(one.asked.key):
            return one
        asked = Asked(f"{one.asked.key}/policy", "policy", one.handler, one.asked.digest)
        if self._log.durable and (known := self._log.recall(asked)) is not None:
            outcome(asked, known)
        gate = self._gate("dispatch", one.handler, one.input)
        assert gate is not None
        await self._pass(gate, asked, with_intent=False)
        return one._replace(input=gate.arguments)

    async def gather(self, *branches: Coroutine[Any, Any, Any]) -> list[Any]:
        scope = self._here()
        try:
            stem = scope.enter("gather")
            try:
                return await self._gather([(f"{stem}/{n}/", branch) for n, branch in enumerate(branches)])
            finally:
                scope.leave("gather")
        finally:
            for branch in branches:  # one that was refused, or cancelled before its first turn, was never awaited
                if asyncio.iscoroutine(branch):
                    branch.close()

    async def _gather(self, branches: Sequence[tuple[str, Coroutine[Any, Any, Any]]]) -> list[Any]:
        """Run each branch in the scope of its prefix; children that nothing but their parent waits for are one."""

        async def scoped(prefix: str, branch: Coroutine[Any, Any, Any]) -> Any:
            current.set(Scope(self._root.run, prefix))
            try:
                return await branch
            except (SystemExit, KeyboardInterrupt) as error:
                raise spared(error, "A branch of gather") from error

        spawns = {n: spawn for n, (_, spawn) in enumerate(branches) if isinstance(spawn, Spawn) and self._takes(spawn)}
        if len(spawns) < 2:
            return await self._fan_out([scoped(*branch) for branch in branches])
        others = [n for n in range(len(branches)) if n not in spawns]
        together = self._spawn_many([(branches[n][0], spawn) for n, spawn in spawns.items()])
        *rest, children = await self._fan_out([*(scoped(*branches[n]) for n in others), together])
        results = dict(zip(spawns, children, strict=True)) | dict(zip(others, rest, strict=True))
        return [results[n] for n in range(len(branches))]

    def _takes(self, spawn: Spawn) -> bool:
        return spawn.fresh and spawn.run is self._root.run

    async def _fan_out(self, branches: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Run branches at once; results in order. The first failure cancels the others and is raised after them."""
        left = len(branches)
        if not left:
            return []

        def ended(_: object) -> None:
            nonlocal left
            left -= 1
            if left:
                self._branches.ended()

        self._branches.fork(left)
        tasks = [asyncio.create_task(branch) for branch in branches]
        for task in tasks:
            task.add_done_callback(ended)
        try:
            return list(await asyncio.gather(*tasks))
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def join(self, awaitable: Awaitable[T]) -> T:
        with self._branches.waiting(outside=False):
            return await awaitable


def _input_of(spawn: Spawn) -> Any:
    check_retry(spawn.options.retry)
    try:
        return plain_json(spawn.input)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"The input of {spawn.handler!r} cannot be expressed in JSON: {error}") from error
