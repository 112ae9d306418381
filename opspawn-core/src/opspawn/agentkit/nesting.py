"""Runs in memory, and the runs within them: sub-agents are asked in the same process, one run inside another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from opspawn.agentkit.context import Context
from opspawn.agentkit.deciding import Policies
from opspawn.agentkit.log import OnEvent, RunEvent
from opspawn.agentkit.memory_log import MemoryLog
from opspawn.agentkit.rates import Rates
from opspawn.agentkit.running import Ended, Parts, agent_of, known_to, run_agent
from opspawn.contracts.events import NewEvent
from opspawn.contracts.model import Message, Usage
from opspawn.contracts.policy import OnApproval
from opspawn.contracts.question import OnQuestion, OnWait


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
    ) -> None:
        self._on_event = on_event
        self._on_question = on_question
        self._on_wait = on_wait
        self._rates = rates
        self._deps = deps
        self._policies = policies
        self._on_approval = on_approval

    async def run(
        self,
        parts: Parts,
        input: Any,
        history: tuple[Message, ...] = (),
        session: str | None = None,
        on_event: OnEvent | None = None,
    ) -> Ended:
        """Run an agent; its usage includes that of the runs within. Raises: as `run_agent`."""
        listener = on_event or self._on_event
        log = MemoryLog(
            listener,
            on_question=self._on_question,
            on_wait=self._on_wait,
            rates=self._rates,
            policies=self._policies,
            on_approval=self._on_approval,
        )
        within = Usage()
        if parts.others:
            known = known_to(parts)

            async def nest(handler: str, told: Any) -> Any:
                nonlocal within
                ended = await self.run(agent_of(handler, known), told, (), session, self._inner(listener))
                within += ended.usage
                return ended.plain

            log.nest = nest
        base = Context(log, name=parts.about.name, input=input, session=session, deps=self._deps)
        ended = await run_agent(base, parts, history)
        return replace(ended, usage=ended.usage + within) if within.requests else ended

    def _inner(self, listener: OnEvent | None) -> OnEvent | None:
        """Events of runs within are told; pieces of their answers are not, lest they be taken for the answer."""
        if listener is None:
            return None

        def tell(event: RunEvent) -> None:
            if isinstance(event, NewEvent):
                listener(event)

        return tell
