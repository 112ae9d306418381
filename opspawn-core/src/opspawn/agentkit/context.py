"""The run context: the one implementation of `RunContext`, in memory and durable alike; an agent's is in `agent_run`.
What its acts stand on is in `acting`, children and branches are in `branching`.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from opspawn.agentkit import remembering
from opspawn.agentkit.acting import same
from opspawn.agentkit.branching import Branching
from opspawn.agentkit.calling import options_of, use
from opspawn.agentkit.doubts import Ask, asking
from opspawn.agentkit.log import sleep_until
from opspawn.agentkit.meaning import meant
from opspawn.agentkit.plain import plain_json
from opspawn.agentkit.questions import check_wait, make_question
from opspawn.agentkit.retries import LONGEST_SLEEP_S, ONE_TRY, check_retry
from opspawn.agentkit.threads import STEPS
from opspawn.contracts.clock import iso
from opspawn.contracts.filters import Filter
from opspawn.contracts.memory import Hit, MemoryItem, Namespace, Selection
from opspawn.contracts.question import NO_DEFAULT, Answer, Question
from opspawn.contracts.retry import Retry
from opspawn.contracts.tool import Check, Effect, Tool
from opspawn.errors import Halt, InvalidInput, ModelRetry, ToolError


class Context(Branching):
    """A run of anything. See `opspawn.contracts.run.RunContext` for what each method promises.

    `attempt` counts the failed attempts before this one. `overrides` are what the run does differently from its agent.
    """

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
        if retry is not None:
            check_retry(retry)
        with self._asking("step", name, key, args) as asked:
            return await self._once(
                asked,
                partial(fn, *args) if _is_async(fn) else partial(STEPS.run, fn, *args),
                encode=plain_json,
                decode=same,
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
                decode=same,
                effect=tool.effect,
                arguments=arguments,
                retry=retry or options_of(tool).retry or ONE_TRY,
                ask=self._check_of(tool, asked.key),
                gate=gate,
                charge=None if self._spender is None else self._spender.tool_call(),
            )

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
        space = namespace or remembering.space_of(self)
        select = Selection(space, False, ids, subject, session, filter, older_than_s)
        if not select.chosen:
            raise InvalidInput("forget needs to be told what.", remedy="Give ids, subject, session, filter or an age.")
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

    # -- time, chance, events ------------------------------------------------------------------------------------------

    async def sleep(self, seconds: float, *, key: str | None = None) -> None:
        if not isinstance(seconds, int | float) or not seconds <= LONGEST_SLEEP_S:
            words = f"A run cannot sleep for {seconds!r} seconds."
            raise InvalidInput(words, remedy="Give a number; 100 years are the most.")
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
            return await use(tool, arguments, self._tool_context(key, tool.name), timeout_s)
        except ModelRetry as error:
            raise ToolError(error.message, remedy=error.remedy) from error

    def _check_of(self, tool: Tool, key: str) -> Ask | None:
        check: Check | None = getattr(tool, "check", None) if self._log.durable else None
        return None if check is None else asking(check, self._tool_context(key), tool.timeout_s)


_COROUTINE = inspect.CO_COROUTINE


def _is_async(fn: Callable[..., Any]) -> bool:
    """Whether calling it only makes a coroutine; most say so by their code, and with every step it counts."""
    try:
        if fn.__code__.co_flags & _COROUTINE:
            return True
    except AttributeError:
        pass
    return inspect.iscoroutinefunction(fn)
