"""The run context: the one implementation of `RunContext`, in memory and durable alike; an agent's is in `agent_run`.

Each act follows the same five moves: name the step (scope, name, ordinal), ask the log for a recorded end, pass the
gate, do the thing with its retries, record the end. Only the log differs between a run in memory and one that survives
a crash.
"""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, NoReturn, TypeVar

from pydantic_core import to_jsonable_python

from opspawn.agentkit import remembering
from opspawn.agentkit.approvals import Gate, call_digest
from opspawn.agentkit.branches import Branches
from opspawn.agentkit.budget import Purse
from opspawn.agentkit.calling import options_of, use
from opspawn.agentkit.children import ChildAsked, Spawn, SpawnOptions
from opspawn.agentkit.deciding import Policies
from opspawn.agentkit.digests import digest
from opspawn.agentkit.doubts import Ask, asking, settle
from opspawn.agentkit.failures import error_from_json, error_to_json, normalised
from opspawn.agentkit.log import Pending, StepLog, sleep_until
from opspawn.agentkit.meaning import meant, policies_with
from opspawn.agentkit.plain import plain_json
from opspawn.agentkit.questions import check_wait, make_question
from opspawn.agentkit.recorded import Asked, Recorded
from opspawn.agentkit.retries import LONGEST_SLEEP_S, ONE_TRY, check_retry, counted
from opspawn.agentkit.scopes import Scope, current
from opspawn.agentkit.spending import Charge, Spender
from opspawn.contracts.budget import Budget
from opspawn.contracts.clock import iso
from opspawn.contracts.events import NewEvent
from opspawn.contracts.filters import Filter
from opspawn.contracts.memory import Hit, MemoryItem, Namespace, Selection
from opspawn.contracts.policy import Act, Considered
from opspawn.contracts.question import NO_DEFAULT, Answer, Question
from opspawn.contracts.retry import Retry
from opspawn.contracts.store import Take
from opspawn.contracts.tool import Check, Effect, Tool, ToolContext
from opspawn.errors import (
    BudgetExceeded,
    Denied,
    Halt,
    InDoubt,
    InvalidInput,
    Limited,
    ModelRetry,
    StepFailed,
    ToolError,
)

T = TypeVar("T")

_TURN = 250  # children, after which others get their turn of the event loop
_TICK_S = 0.001  # less than that is no time to an event loop


class Context:
    """A run of anything. See `opspawn.contracts.run.RunContext` for what each method promises.

    `attempt` counts the failed attempts before this one. `overrides` are what the run does differently from its agent.
    """

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
        self._root = Scope(self, "")
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
        #: Where the run's long-term memory comes from, and its own namespace there; set by who makes the run.
        self.memories: remembering.OpensMemory | None = None
        self.namespace: Namespace | None = None

    # -- what everything stands on -------------------------------------------------------------------------------------

    def _here(self) -> Scope:
        scope = current.get()
        return scope if scope is not None and scope.run is self._root.run else self._root

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
                    return decode(_outcome(asked, known))
            if gate is not None:
                await self._pass(gate, asked, with_intent=effect == "once")
                if gate.changed:
                    arguments = gate.arguments
            tries = log.tries(asked.key)
            while True:
                if tries.until and tries.until > clock.time():
                    with self._branches.waiting(outside=True, until=tries.until):
                        await sleep_until(tries.until, clock)
                if takes:
                    await self._spend(takes)
                if charge is not None:
                    await charge.enter(asked)
                if self._branches.draining:
                    await self._branches.gate()
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
                        result = _encoded(asked, encode, value)
                        try:
                            await log.done(asked, result, clock.monotonic() - began)
                        except InvalidInput as error:
                            raise _too_large(asked, error) from error
                        if charge is not None:
                            charge.done(asked, value)
                        return value if decode is not _same else result
                    except Halt:
                        raise
                    except (Exception, SystemExit) as error:
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
                        tries = replace(again, until=until)
        except Halt as halt:
            return await self._halt(halt)

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

    def allow(self, name: str, budget: Budget) -> None:
        """Let a budget count in this run, beside those that count already."""
        if self._spender is None:
            purse = Purse(self._log.ledger, self._log.began, self._log.clock)
            self._spender = Spender(self._log, purse, self._put_approval, self._note, self._fail)
        self._spender.purse.add(name, budget)
        self._spender.agent = self.agent

    def _gate(self, act: Act, name: str, arguments: Any, what: str = "", **seen: Any) -> Gate | None:
        """What stands before an act; None where there are no policies."""
        return self._gate_of(self._policies, act, name, arguments, what, **seen)

    def _tool_gate(self, tool: Tool, arguments: Any) -> Gate | None:
        return self._gate_of(policies_with(self._policies, tool), "tool", tool.name, arguments, effect=tool.effect)

    def _gate_of(
        self, policies: Policies, act: Act, name: str, arguments: Any, what: str = "", **seen: Any
    ) -> Gate | None:
        if not policies:
            return None
        considered = Considered(
            act, name, arguments, self.agent, task=self.task, session=self.session, deps=self.deps, **seen
        )
        return Gate(policies, considered, what or call_digest(name, arguments), self._log, self._put_approval)

    async def _put_approval(self, asked: Asked, question: Question, timeout_s: float | None, default: Any) -> Any:
        return await self._from_outside(asked, lambda: self._log.ask(asked, question, timeout_s, default))

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
                    wait = limited.retry_after_s * random.uniform(1.0, 1.25)
            until = log.clock.time() + wait
            with self._branches.waiting(outside=True, until=until):
                await sleep_until(until, log.clock)

    async def _halt(self, halt: Halt) -> NoReturn:
        """End a run that must stop.

        In a durable run user code sees nothing of it, lest a broad `except` go on: its call just never returns, and the
        code is unwound once the steps in flight have ended.
        """
        if self._log.durable:
            self._log.halted(halt)
            await self._branches.halt()
        raise halt

    # -- acting --------------------------------------------------------------------------------------------------------

    async def step(
        self,
        name: str,
        fn: Callable[..., Any],
        *args: Any,
        effect: Effect = "idempotent",
        key: str | None = None,
        retry: Retry | None = None,
        check: Check | None = None,
    ) -> Any:
        check_retry(retry)
        with self._asking("step", name, key, args) as asked:
            return await self._once(
                asked,
                partial(fn, *args) if _is_async(fn) else partial(_in_thread, fn, *args),
                encode=plain_json,
                decode=_same,
                effect=effect,
                arguments=list(args),
                retry=retry or ONE_TRY,
                ask=None if check is None else asking(check, self._tool_context(asked.key), None),
            )

    async def call(
        self,
        tool: Tool,
        arguments: dict[str, Any],
        *,
        key: str | None = None,
        timeout_s: float | None = None,
        retry: Retry | None = None,
    ) -> Any:
        check_retry(retry)
        tool, arguments = meant(tool, arguments)
        gate = self._tool_gate(tool, arguments)
        with self._asking("tool", tool.name, key, arguments) as asked:
            return await self._once(
                asked,
                lambda: self._use_alone(tool, gate.arguments if gate else arguments, asked.key, timeout_s),
                encode=plain_json,
                decode=_same,
                effect=tool.effect,
                arguments=arguments,
                retry=retry or options_of(tool).retry or ONE_TRY,
                ask=self._check_of(tool, asked.key),
                gate=gate,
                charge=None if self._spender is None else self._spender.tool_call(),
            )

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
            _outcome(wanted[children.failed].asked, children.ends[children.failed])
        return [_outcome(one.asked, end) for one, end in zip(wanted, children.ends, strict=True)]

    async def _lend(self, spender: Spender, wanted: Sequence[ChildAsked], among: int) -> Sequence[ChildAsked]:
        """The children with what each may use. Raises: BudgetExceeded, recorded, now or before."""
        if self._log.durable:
            for one in wanted:
                asked = Asked(f"{one.asked.key}/budget", "budget", one.handler, "")
                if (known := self._log.recall(asked)) is not None:
                    _outcome(asked, known)
        return await spender.lend(wanted, among)

    async def _permitted(self, one: ChildAsked) -> ChildAsked:
        """The child as it may be made. Raises: Denied, recorded; Halt."""
        if self._log.spawned(one.asked.key):
            return one
        asked = Asked(f"{one.asked.key}/policy", "policy", one.handler, one.asked.digest)
        if self._log.durable and (known := self._log.recall(asked)) is not None:
            _outcome(asked, known)
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
            return await branch

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

    # -- long-term memory ----------------------------------------------------------------------------------------------

    async def recall(
        self,
        query: str,
        *,
        namespace: Namespace | None = None,
        filter: Filter | None = None,
        limit: int = 5,
        min_score: float = 0.0,
        recency: float = 0.0,
        confidence: float = 0.0,
        key: str | None = None,
    ) -> list[Hit]:
        options = {"limit": limit, "min_score": min_score, "recency": recency, "confidence": confidence}
        return await remembering.recall(self, query, namespace, filter, key, options)

    async def remember(
        self,
        text: str,
        *,
        namespace: Namespace | None = None,
        metadata: Mapping[str, Any] | None = None,
        subject: str = "",
        confidence: float = 1.0,
        ttl_s: float | None = None,
        refresh: bool = False,
        source: str = "",
        who: str = "",
        key: str | None = None,
    ) -> MemoryItem:
        fields = {"metadata": dict(metadata or {}), "subject": subject, "confidence": confidence}
        fields |= {"ttl_s": ttl_s, "refresh": refresh, "source": source, "who": who}
        return await remembering.remember(self, text, namespace, key, fields)

    async def forget(
        self,
        *ids: str,
        namespace: Namespace | None = None,
        subject: str | None = None,
        session: str | None = None,
        filter: Filter | None = None,
        older_than_s: float | None = None,
        key: str | None = None,
    ) -> int:
        if not ids and subject is None and session is None and filter is None and older_than_s is None:
            raise InvalidInput("forget needs to be told what.", remedy="Give ids, subject, session, filter or an age.")
        space = namespace or remembering.space_of(self)
        select = Selection(space, False, ids, subject, session, filter, older_than_s)
        return await remembering.forget(self, select, key)

    # -- people and messages -------------------------------------------------------------------------------------------

    async def wait(self, signal: str, *, timeout_s: float | None = None, key: str | None = None) -> Any:
        check_wait("signal", signal, timeout_s)
        with self._asking("wait", f"wait {signal}", key, None) as asked:
            return await self._from_outside(asked, lambda: self._log.wait(asked, signal, timeout_s))

    async def ask(
        self,
        question: str,
        *,
        choices: Sequence[Any] | None = None,
        schema: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        to: str | None = None,
        default: Any = NO_DEFAULT,
        key: str | None = None,
    ) -> Any:
        made = make_question(question, choices, schema, to)
        return (await self.put(made, timeout_s=timeout_s, default=default, key=key)).value

    async def put(
        self, question: Question, *, timeout_s: float | None = None, default: Any = NO_DEFAULT, key: str | None = None
    ) -> Answer:
        """Put a question of any kind, once, and return the answer with who gave it."""
        check_wait("question", "ask", timeout_s)
        plain = default if default is NO_DEFAULT else plain_json(default)
        what = [question.text, list(question.choices), question.digest]
        with self._asking("ask", "ask", key, what) as asked:
            told = await self._from_outside(asked, lambda: self._log.ask(asked, question, timeout_s, plain))
            return Answer(told["value"], told.get("by"), told.get("question"), expired=told.get("expired", False))

    async def _from_outside(self, asked: Asked, look: Callable[[], Awaitable[Recorded | Pending]]) -> Any:
        """Look, and wait until there is news to look at, until the end is there. Holds no slot meanwhile."""
        try:
            while True:
                await self._branches.gate()
                with self._branches:
                    ended = await look()
                if isinstance(ended, Recorded):
                    return _outcome(asked, ended)
                with self._branches.waiting(outside=True, until=ended.until, what=ended.what):
                    left = None if ended.until is None else max(_TICK_S, ended.until - self._log.clock.time())
                    await asyncio.wait({ended.news}, timeout=left)
        except Halt as halt:
            return await self._halt(halt)

    # -- time, chance, events ------------------------------------------------------------------------------------------

    async def sleep(self, seconds: float, *, key: str | None = None) -> None:
        if not seconds <= LONGEST_SLEEP_S:
            raise InvalidInput(f"A run cannot sleep for {seconds!r} seconds.", remedy="100 years are the most.")
        with self._asking("sleep", "sleep", key, None) as asked:
            try:
                with self._branches:
                    until = await self._log.timer(asked, seconds)
            except Halt as halt:
                await self._halt(halt)
            if until > self._log.clock.time():
                with self._branches.waiting(outside=True, until=until):
                    await sleep_until(until, self._log.clock)

    async def now(self) -> datetime:
        async def perform() -> datetime:
            return datetime.fromtimestamp(self._log.clock.time(), UTC)

        with self._asking("now", "now", None, None) as asked:
            return await self._once(asked, perform, encode=iso, decode=datetime.fromisoformat)

    async def random(self) -> float:
        async def perform() -> float:
            return random.random()

        with self._asking("random", "random", None, None) as asked:
            return await self._once(asked, perform, encode=float, decode=float)

    async def progress(self, note: str | None = None, *, done: float | None = None, total: float | None = None) -> None:
        told = {"note": note, "done": done, "total": total}
        try:
            await self._log.progress({name: value for name, value in told.items() if value is not None})
        except Halt as halt:
            await self._halt(halt)

    async def emit(self, name: str, data: dict[str, Any] | None = None) -> None:
        try:
            plain = plain_json(data or {})
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"The data of the event {name!r} cannot be expressed in JSON: {error}") from error
        if taken := {"key", "digest"} & plain.keys():
            raise InvalidInput(
                f"The event {name!r} has data named {sorted(taken)[0]!r}, which the journal itself uses."
            )
        await self.tell(f"custom.{name}", plain)

    async def tell(self, type: str, plain: dict[str, Any]) -> None:
        """Record an event of the run, once."""
        with self._asking("emit", type, None, plain) as asked:
            try:
                with self._branches:
                    await self._log.emit(asked, plain)
            except Halt as halt:
                await self._halt(halt)

    async def take(self, limit: str, amount: float = 1, *, unit: str = "requests", key: str | None = None) -> None:
        with self._asking("take", f"take {limit}", key, [amount, unit]) as asked:
            try:
                if not self._log.durable or self._log.recall(asked) is None:
                    await self._spend(self._log.rates.of(limit, amount, unit), asked)
            except Halt as halt:
                await self._halt(halt)

    # -- tools ---------------------------------------------------------------------------------------------------------

    async def _use_alone(self, tool: Tool, arguments: dict[str, Any], key: str, timeout_s: float | None) -> Any:
        """A call that no model asked for: nobody is there to do it differently."""
        try:
            return await use(tool, arguments, self._tool_context(key), timeout_s)
        except ModelRetry as error:
            raise ToolError(error.message, remedy=error.remedy) from error

    def _tool_context(self, key: str) -> ToolContext:
        return ToolContext(f"{self._log.identity}/{key}", self.agent, self.task, self.session, self.deps)

    def _check_of(self, tool: Tool, key: str) -> Ask | None:
        check: Check | None = getattr(tool, "check", None)
        return None if check is None else asking(check, self._tool_context(key), tool.timeout_s)

    def _asking(self, kind: str, name: str, key: str | None, what: Any) -> _InFlight:
        """Name a call, which is in flight within."""
        scope = self._here()
        asked = digest([name, what]) if self._log.durable else ""
        label = name if key is None else key
        return _InFlight(Asked(scope.enter(label), kind, name, asked), scope, label)


class _InFlight:
    """A call that was named; its name is free again at the end of the block."""

    __slots__ = ("_asked", "_label", "_scope")

    def __init__(self, asked: Asked, scope: Scope, label: str) -> None:
        self._asked = asked
        self._scope = scope
        self._label = label

    def __enter__(self) -> Asked:
        return self._asked

    def __exit__(self, *_: object) -> None:
        self._scope.leave(self._label)


def _is_async(fn: Callable[..., Any]) -> bool:
    """Whether calling it only makes a coroutine; most say so by their code, and with every step it counts."""
    code = getattr(fn, "__code__", None)
    return (code is not None and bool(code.co_flags & inspect.CO_COROUTINE)) or inspect.iscoroutinefunction(fn)


async def _in_thread(fn: Callable[..., Any], *args: Any) -> Any:
    value = await asyncio.to_thread(fn, *args)
    return await value if isinstance(value, Awaitable) else value


def _input_of(spawn: Spawn) -> Any:
    check_retry(spawn.options.retry)
    try:
        return plain_json(spawn.input)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"The input of {spawn.handler!r} cannot be expressed in JSON: {error}") from error


def _outcome(asked: Asked, known: Recorded | None) -> Any:
    assert known is not None, "a call goes on once it has ended"
    if known.ok:
        return known.result
    error = error_from_json(known.error or {})
    error.key = asked.key
    raise error


def _encoded(asked: Asked, encode: Callable[[T], Any], value: T) -> Any:
    try:
        return encode(value)
    except (ValueError, RecursionError) as error:
        raise StepFailed(
            f"The result of {asked.name!r} cannot be expressed in JSON: {error}", error_type="invalid_output"
        ) from error


def _too_large(asked: Asked, error: InvalidInput) -> StepFailed:
    return StepFailed(f"The result of {asked.name!r} is too large: {error}", error_type="invalid_output")


def _same(value: Any) -> Any:
    return value


def _shown(arguments: Any) -> Any:
    return to_jsonable_python(arguments, fallback=repr)
