"""Runs in memory, and the runs within them: sub-agents are asked in the same process, one run inside another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from opspawn.agentkit.bound import BoundModel
from opspawn.agentkit.children import ChildAsked
from opspawn.agentkit.context import Context
from opspawn.agentkit.deciding import Policies
from opspawn.agentkit.failures import error_to_json, normalised
from opspawn.agentkit.ledger import Amount
from opspawn.agentkit.log import LogEntry
from opspawn.agentkit.memory_log import MemoryLog
from opspawn.agentkit.plain import plain_json
from opspawn.agentkit.rates import Rates
from opspawn.agentkit.remembering import OpensMemory
from opspawn.agentkit.running import Ended, Parts, agent_of, known_to, run_agent
from opspawn.contracts.budget import Budget
from opspawn.contracts.events import NewEvent
from opspawn.contracts.model import Message, Usage
from opspawn.contracts.policy import OnApproval
from opspawn.contracts.question import OnQuestion, OnWait

if TYPE_CHECKING:
    from opspawn.agentkit.telling import Teller
    from opspawn.contracts.run_events import RunEvent

OnEvent = Callable[["RunEvent"], None]


class Nesting:
    """What a run in memory shares with those that it makes: listeners, people, rates, policies and dependencies."""

    def __init__(
        self,
        on_event: OnEvent | None,
        on_question: OnQuestion | None,
        on_wait: OnWait | None,
        rates: Rates | None,
        deps: Any,
        policies: Policies | None = None,
        on_approval: OnApproval | None = None,
        memories: OpensMemory | None = None,
        models: Callable[[str | None], BoundModel] | None = None,
    ) -> None:
        self._on_event = on_event
        self._on_question = on_question
        self._on_wait = on_wait
        self._rates = rates
        self._deps = deps
        self._policies = policies
        self._on_approval = on_approval
        self._memories = memories
        self._models = models
        self._teller: Teller | None = None

    async def run(
        self, parts: Parts, input: Any, history: tuple[Message, ...] = (), session: str | None = None
    ) -> Ended:
        """Run an agent; its usage includes that of the runs within. Raises: as `run_agent`."""
        id = uuid4().hex
        if self._on_event is None:
            return await self._run(id, parts, input, history, session)
        from opspawn.agentkit.telling import Teller  # only who listens needs it, and it takes time to import

        teller = self._teller = Teller(id)
        name = parts.about.name
        begun = {"handler": f"agent/{name}", "input": shown(input), "session": session}
        self._tell(teller.line("task.accepted", begun, run=id, agent=name))
        try:
            ended = await self._run(id, parts, input, history, session)
        except asyncio.CancelledError:
            self._tell(teller.line("task.cancelled", {}, run=id))
            raise
        except Exception as error:
            self._tell(teller.line("task.failed", {"error": error_to_json(normalised(error))}, run=id))
            raise
        self._tell(teller.line("task.succeeded", {"result": ended.plain}, run=id))
        return ended

    async def _run(
        self,
        id: str,
        parts: Parts,
        input: Any,
        history: tuple[Message, ...] = (),
        session: str | None = None,
        budget: Budget | None = None,
        lender: Callable[[Amount], None] | None = None,
    ) -> Ended:
        """One run of the nest; `lender` is told what it used of `budget`."""
        log = MemoryLog(
            None if self._teller is None else self._listener(self._teller, id, parts.about.name),
            on_question=self._on_question,
            on_wait=self._on_wait,
            rates=self._rates,
            policies=self._policies,
            on_approval=self._on_approval,
            budget=budget,
        )
        within = Usage()
        if parts.others:
            known = known_to(parts)

            async def nest(one: ChildAsked, child: str) -> Any:
                nonlocal within
                loan = one.options.budget
                lender = partial(log.ledger.returned, child) if loan is not None else None
                told = agent_of(one.handler, known)
                ended = await self._run(child, told, one.input, (), session, loan, lender)
                within += ended.usage
                return ended.plain

            log.nest = nest
        base = Context(log, name=parts.about.name, input=input, session=session, deps=self._deps)
        base.memories, base.models = self._memories, self._models
        try:
            ended = await run_agent(base, parts, history)
        finally:
            if lender is not None:
                lender(log.ledger.total)
        within += log.asides
        return replace(ended, usage=ended.usage + within) if within.requests else ended

    def _listener(self, teller: Teller, run: str, agent: str) -> Callable[[LogEntry], None]:
        """Tells the listener what a log of one run writes, in the words of `RunEvent`."""

        def listen(entry: LogEntry) -> None:
            if isinstance(entry, NewEvent):
                self._tell(teller.line(entry.type, entry.data, run=run, agent=agent))
                return
            data = {"kind": entry.kind, "text": entry.text, "tool": entry.tool}
            if (event := teller.delta(data, run=run, agent=agent)) is not None:
                self._tell([event])

        return listen

    def _tell(self, events: list[RunEvent]) -> None:
        assert self._on_event is not None
        for event in events:
            self._on_event(event)


def shown(input: Any) -> Any:
    """An input as an event shows it: as JSON where it can be, else in words."""
    try:
        return plain_json(input)
    except (ValueError, RecursionError):
        return repr(input)
