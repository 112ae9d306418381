"""What every act of a run stands on: its name, its recorded end, what must let it pass, its tries, and its halt.

Each act follows the same five moves: name the step (scope, name, ordinal), ask the log for a recorded end, pass the
gate, do the thing with its retries, record the end. Only the log differs between a run in memory and one that survives
a crash.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn, TypeVar

from pydantic_core import to_jsonable_python

from opspawn.agentkit import remembering
from opspawn.agentkit.approvals import Gate
from opspawn.agentkit.bound import BoundModel
from opspawn.agentkit.branches import Branches
from opspawn.agentkit.budget import Purse
from opspawn.agentkit.deciding import Policies
from opspawn.agentkit.digests import digest
from opspawn.agentkit.doubts import Ask, settle
from opspawn.agentkit.failures import FAULTS, error_from_json, error_to_json, normalised
from opspawn.agentkit.log import Pending, StepLog, sleep_until
from opspawn.agentkit.meaning import policies_with
from opspawn.agentkit.recorded import Asked, Recorded, Tries, asked_of
from opspawn.agentkit.retries import ONE_TRY, counted
from opspawn.agentkit.scopes import Scope, current
from opspawn.agentkit.spending import Charge, Spender
from opspawn.agentkit.within import Within
from opspawn.contracts.budget import Budget
from opspawn.contracts.events import NewEvent
from opspawn.contracts.memory import Namespace
from opspawn.contracts.policy import Act, Considered
from opspawn.contracts.question import Question
from opspawn.contracts.retry import Retry
from opspawn.contracts.store import Take
from opspawn.contracts.tool import Effect, Tool, ToolContext
from opspawn.errors import (
    BudgetExceeded,
    Denied,
    Halt,
    InDoubt,
    InvalidInput,
    Limited,
    StepFailed,
)

T = TypeVar("T")

_TICK_S = 0.001  # less than that is no time to an event loop


class Acting:
    """A run, without the acts themselves: see `Context`."""

    def __init__(
        self,
        log: StepLog,
        *,
        name: str,
        input: Any = None,
        task: str | None = None,
        session: str | None = None,
        deps: Any = None,
        branches: Branches | None = None,
    ) -> None:
        self._log = log
        self._branches = branches or Branches()
        self._root = Scope(self._branches, "")  # which are the run's own, and do not hold it
        self.agent = name
        self.input = input
        self.task = task
        self.session = session
        self.deps = deps
        self.attempt = 0
        self.overrides: Mapping[str, Any] | None = None
        self._policies = log.policies
        self._spender: Spender | None = None
        if log.budget is not None:
            self.allow("task", log.budget)
        #: Opens models by name, for tools that need one; set by who makes the run.
        self.models: Callable[[str | None], BoundModel] | None = None
        #: What tools have asked models for in this life of the run: by purpose and entry, the tokens.
        self.asides: dict[str, dict[str, int]] = {}
        #: Where the run's long-term memory comes from, and its own namespace there; set by who makes the run.
        self.memories: remembering.OpensMemory | None = None
        self.namespace: Namespace | None = None

    # -- one step ------------------------------------------------------------------------------------------------------

    def _here(self) -> Scope:
        scope = current.get()
        return scope if scope is not None and scope.run is self._root.run else self._root

    def _asking(self, kind: str, name: str, key: str | None, what: Any) -> _InFlight:
        """Name a call, which is in flight within."""
        scope = self._here()
        asked = digest((name, what)) if self._log.durable else ""
        label = name if key is None else key
        call = _InFlight()
        call.asked, call.scope, call.label = asked_of((scope.enter(label), kind, name, asked)), scope, label
        return call

    async def _once(
        self,
        asked: Asked,
        perform: Callable[[], Awaitable[T]],
        *,
        encode: Callable[[T], Any],
        decode: Callable[[Any], T],
        effect: Effect = "idempotent",
        arguments: Any = None,
        retry: Retry = ONE_TRY,
        ask: Ask | None = None,
        takes: Sequence[Take] = (),
        gate: Gate | None = None,
        charge: Charge | None = None,
    ) -> T:
        """Perform a step unless the log has its end; `gate` must let it pass, and each try spends `takes` first, and
        is held against the budget by `charge`.

        Raises: what `normalised` makes of the step's final error.
        """
        log, clock = self._log, self._log.clock
        try:
            if log.durable:
                known = log.recall(asked) if ask is None else await self._recall(asked, ask)
                if known is not None:
                    return decode(outcome(asked, known))
            if gate is not None:
                await self._pass(gate, asked, with_intent=effect == "once")
                if gate.changed:
                    arguments = gate.arguments
            tries = log.tries(asked.key)
            while True:
                if tries.until or takes or charge is not None or self._branches.draining:
                    await self._may_begin(asked, tries.until, takes, charge)
                log.check()
                with self._branches:
                    began = clock.monotonic()
                    try:
                        if effect == "once":
                            await log.begin(asked, _shown(arguments))
                            log.held()  # to record it may have taken longer than the lease
                        if charge is None:
                            value = await perform()
                        else:
                            await charge.begin(asked)
                            value = await charge.within(perform())
                        try:
                            result = encode(value)
                        except (ValueError, RecursionError) as error:
                            raise _inexpressible(asked, error) from error
                        try:
                            await log.done(asked, result, clock.monotonic() - began)
                        except InvalidInput as error:
                            raise _too_large(asked, error) from error
                        if charge is not None:
                            charge.done(asked, value)
                        return value if decode is not same else result
                    except Halt:
                        raise
                    except FAULTS as error:
                        tries = await self._failed(asked, error, effect, retry, tries, charge, began)
        except Halt as halt:
            return await self._halt(halt)

    async def _may_begin(self, asked: Asked, until: float, takes: Sequence[Take], charge: Charge | None) -> None:
        """Return when the next try of a step is due, its rates are spent and its budget holds. Raises: Halt."""
        clock = self._log.clock
        if until and until > clock.time():
            with self._branches.waiting(outside=True, until=until):
                await sleep_until(until, clock)
        if takes:
            await self._spend(takes)
        if charge is not None:
            await charge.enter(asked)
        await self._branches.gate()

    async def _failed(
        self,
        asked: Asked,
        error: BaseException,
        effect: Effect,
        retry: Retry,
        tries: Tries,
        charge: Charge | None,
        began: float,
    ) -> Tries:
        """Record that a try failed; the tries so far, if another follows. Raises: the step's final error; Halt."""
        log, clock = self._log, self._log.clock
        final = normalised(error)
        told = error_to_json(final)
        again = counted(final, effect, retry, tries, clock.time())
        if charge is not None:
            charge.failed(asked, told["type"])
        if again is None:
            await log.failed(asked, told, clock.monotonic() - began)
            final.key = asked.key
            raise final from (error if error is not final else None)
        delay = max(0.0, again.until - clock.time())
        until = await log.retry(asked, again.failures, told, delay)
        return replace(again, until=until)

    async def _recall(self, asked: Asked, ask: Ask) -> Recorded | None:
        """The recorded end of a step; of one in doubt, what its check says. Raises: InDoubt, JournalMismatch."""
        try:
            return self._log.recall(asked)
        except InDoubt as doubt:
            if doubt.key != asked.key:
                raise
            await self._branches.gate()
            self._log.check()
            with self._branches:
                return await settle(self._log, asked, doubt, ask)

    async def _halt(self, halt: Halt) -> NoReturn:
        """End a run that must stop.

        In a durable run user code sees nothing of it, lest a broad `except` go on: its call just never returns, and the
        code is unwound once the steps in flight have ended.
        """
        if self._log.durable:
            self._log.halted(halt)
            await self._branches.halt()
        raise halt

    async def _from_outside(self, asked: Asked, look: Callable[[], Awaitable[Recorded | Pending]]) -> Any:
        """Look, and wait until there is news to look at, until the end is there. Holds no slot meanwhile."""
        try:
            while True:
                await self._branches.gate()
                with self._branches:
                    ended = await look()
                if isinstance(ended, Recorded):
                    return outcome(asked, ended)
                with self._branches.waiting(outside=True, until=ended.until, what=ended.what):
                    left = None if ended.until is None else max(_TICK_S, ended.until - self._log.clock.time())
                    await asyncio.wait({ended.news}, timeout=left)
        except Halt as halt:
            return await self._halt(halt)

    def _tool_context(self, key: str, tool: str = "", call: str | None = None) -> ToolContext:
        within, notes = Within(self, key, tool, call), self._log.notes(key) if key else None
        return ToolContext(
            f"{self._log.identity}/{key}",
            self.agent,
            self.task,
            self.session,
            self.deps,
            within.ask,
            notes,
            within.think,
            within.report,
        )

    # -- what must let it pass -----------------------------------------------------------------------------------------

    def _gate(self, act: Act, name: str, arguments: Any, what: str = "", **seen: Any) -> Gate | None:
        """What stands before an act; None where there are no policies."""
        return self._gate_of(self._policies, act, name, arguments, what, **seen)

    def _tool_gate(self, tool: Tool, arguments: Any) -> Gate | None:
        gate = self._gate_of(policies_with(self._policies, tool), "tool", tool.name, arguments, effect=tool.effect)
        if gate is not None:
            gate.parameters = tool.parameters
            gate.fits = None if self._log.durable else getattr(tool, "check_arguments", None)
        return gate

    def _gate_of(
        self, policies: Policies, act: Act, name: str, arguments: Any, what: str = "", **seen: Any
    ) -> Gate | None:
        if not policies:
            return None
        considered = Considered(
            act, name, arguments, self.agent, task=self.task, session=self.session, deps=self.deps, **seen
        )
        return Gate(policies, considered, what, self._log, self._put_approval)

    async def _pass(self, gate: Gate, asked: Asked, *, with_intent: bool) -> None:
        """Return if a step may begin. Raises: Denied, recorded; Halt."""
        try:
            await gate.enter(asked, with_intent=with_intent)
        except Denied as denied:
            await self.refuse(asked, denied)

    async def refuse(self, asked: Asked, denied: Denied) -> NoReturn:
        """Record that a step was not allowed. Raises: Denied; Halt."""
        await self._branches.gate()
        self._log.check()
        with self._branches:
            await self._log.denied(asked, error_to_json(denied), denied.detail or {})
        denied.key = asked.key
        raise denied

    async def _put_approval(self, asked: Asked, question: Question, timeout_s: float | None, default: Any) -> Any:
        return await self._from_outside(asked, lambda: self._log.ask(asked, question, timeout_s, default))

    def allow(self, name: str, budget: Budget) -> None:
        """Let a budget count in this run, beside those that count already."""
        if self._spender is None:
            purse = Purse(self._log.ledger, self._log.began, self._log.clock)
            self._spender = Spender(self._log, purse, self._put_approval, self._note, self._fail)
        self._spender.purse.add(name, budget)
        self._spender.agent = self.agent

    async def _fail(self, asked: Asked, error: BudgetExceeded) -> NoReturn:
        """Record that a step could not begin. Raises: the error; Halt."""
        await self._branches.gate()
        self._log.check()
        with self._branches:
            await self._log.failed(asked, error_to_json(error), 0.0)
        error.key = asked.key
        raise error

    async def _note(self, event: NewEvent) -> None:
        await self._branches.gate()
        self._log.check()
        with self._branches:
            await self._log.note(event)

    async def _spend(self, takes: Sequence[Take], asked: Asked | None = None) -> None:
        """Spend rates, and wait, without a slot, until they are granted; `asked` is recorded with it. Raises: Halt."""
        log = self._log
        while True:
            await self._branches.gate()
            log.check()
            with self._branches:
                try:
                    return await log.take(takes, asked)
                except Limited as limited:
                    # Everybody who waits is told the same time, which suffices for one: the others come a bit later.
                    wait, key = limited.retry_after_s * random.uniform(1.0, 1.25), limited.key
            until = log.clock.time() + wait
            with self._branches.waiting(outside=True, until=until, rate=key):
                await sleep_until(until, log.clock)


class _InFlight:
    """A call that was named; its name is free again at the end of the block."""

    __slots__ = ("asked", "label", "scope")

    asked: Asked
    label: str
    scope: Scope

    def __enter__(self) -> Asked:
        return self.asked

    def __exit__(self, *_: object) -> None:
        self.scope.leave(self.label)


def outcome(asked: Asked, known: Recorded | None) -> Any:
    assert known is not None, "a call goes on once it has ended"
    if known.ok:
        return known.result
    error = error_from_json(known.error or {})
    error.key = asked.key
    raise error


def _inexpressible(asked: Asked, error: Exception) -> StepFailed:
    words = f"The result of {asked.name!r} cannot be expressed in JSON: {error}"
    return StepFailed(words, error_type="invalid_output")


def _too_large(asked: Asked, error: InvalidInput) -> StepFailed:
    return StepFailed(f"The result of {asked.name!r} is too large: {error}", error_type="invalid_output")


def same(value: Any) -> Any:
    return value


def _shown(arguments: Any) -> Any:
    return to_jsonable_python(arguments, fallback=repr)
