"""The run context of an agent: a model and tools besides what every run has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from opspawn.agentkit.calling import USUAL, options_of, refused, told, use, with_changes
from opspawn.agentkit.children import ChildAsked, SpawnOptions
from opspawn.agentkit.codec import (
    result_from_json,
)
from opspawn.agentkit.digests import digest
from opspawn.agentkit.failures import FAULTS, error_from_json, normalised
from opspawn.agentkit.guardrails import Guards
from opspawn.agentkit.meaning import meant
from opspawn.agentkit.parts import parts_of, words_of
from opspawn.agentkit.plain import as_text, tool_json
from opspawn.agentkit.planning import NOBODY, plan_json, plan_question, verdict_of
from opspawn.agentkit.recorded import Asked
from opspawn.agentkit.retries import asks_to_wait, policy_for
from opspawn.agentkit.spending import Spender
from opspawn.agentkit.subagents import AgentTool, HandedOver, HandoffTool
from opspawn.agentkit.thinking import Thinking
from opspawn.agentkit.watched import result_encoder
from opspawn.contracts.model import ToolCall
from opspawn.contracts.plan import Plan, PlanVerdict
from opspawn.contracts.retry import RetryPolicy
from opspawn.contracts.tool import Tool, ToolResult
from opspawn.errors import BudgetExceeded, Denied, Halt, InvalidInput, NotFound, StepError

#: An agent is told at once of a tool that failed; only a service that says when to come back is waited for.
TOOL_RETRY = RetryPolicy(when=("rate_limited", "transient"))


class AgentRun(Thinking):
    """A run of an agent. See `opspawn.contracts.run.AgentContext`. `usage` counts replayed model calls, too."""

    async def act(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        scope = self._here()
        stem = scope.enter("act")
        keys = [f"{stem}/{index}" for index in range(len(calls))]
        try:
            if self._spender is not None:
                await self._admit(self._spender, stem, calls, keys)
            if len(calls) == 1:
                results = [await self._act(calls[0], keys[0])]
            else:
                results = await self._act_in_turns(calls, keys)
        finally:
            scope.leave("act")
        if self.guards is not None:
            results = [await self._let_in(self.guards, *one) for one in zip(calls, results, keys, strict=True)]
        results = self._belt.note(results, keys, scope.prefix)
        if self._transfers:
            self._hand_over(calls, results)
        return results

    async def offered(self) -> Sequence[Tool]:
        return (*self.tools, *await self._belt.moving(self._tool_context("")))

    async def _let_in(self, guards: Guards, call: ToolCall, result: ToolResult, key: str) -> ToolResult:
        """A result as the model may see it; of one that is held back it is told why."""
        if not guards.looks(call.name):
            return result
        whole = as_text(result.value) if result.handle is not None else result.content
        try:
            said = await guards.result(call.name, call.arguments, whole, key)
        except Denied as denied:
            return refused(call, denied)
        if said == whole:
            return result
        tool = self._belt.find(call.name)
        made = told(call, said, options_of(tool) if tool is not None else USUAL, key)
        return replace(made, is_error=result.is_error, error_type=result.error_type)

    async def _admit(self, spender: Spender, stem: str, calls: Sequence[ToolCall], keys: Sequence[str]) -> None:
        """Return if the budget allows all of these calls. Raises: BudgetExceeded, recorded, now or before."""
        asked = Asked(f"{stem}/budget", "budget", "act", "")
        agents = [isinstance(self._belt.find(call.name), AgentTool) for call in calls]
        self._lenders = {key: sum(agents[index:]) for index, key in enumerate(keys)}
        try:
            if self._log.durable and (known := self._log.recall(asked)) is not None:
                raise error_from_json(known.error or {})
            await spender.admit(asked, [key for key, agent in zip(keys, agents, strict=True) if not agent])
        except Halt as halt:
            await self._halt(halt)

    def _hand_over(self, calls: Sequence[ToolCall], results: Sequence[ToolResult]) -> None:
        """Raises: HandedOver: the model asked for another agent; what it called besides has been carried out."""
        for call, result in zip(calls, results, strict=True):
            tool = self._transfers.get(call.name)
            if tool is not None and not result.is_error:
                messages = [*self.conversation, *(result.message() for result in results)]
                raise HandedOver(tool.agent, messages, str(call.arguments.get("reason") or ""))

    async def _refuse(self, call: ToolCall, key: str, words: str, why: str) -> ToolResult:
        """The outcome of a call that cannot begin; told, since there is no step that would tell of it."""
        data = {"call": call.id, "name": call.name, "words": words, "why": why}
        asked = Asked(f"{key}/refused", "emit", "tool.refused", digest(data) if self._log.durable else "")
        try:
            with self._branches:
                await self._log.emit(asked, data)
        except Halt as halt:
            await self._halt(halt)
        return refused(call, words, why)

    async def _handoff_denied(self, tool: HandoffTool, call: ToolCall, key: str) -> Denied | None:
        """Why a conversation may not be handed over; to policies that is a dispatch."""
        if not self._policies:
            return None
        handler = f"agent/{tool.agent.name}"
        asked = Asked(key, "handoff", handler, digest([handler, call.arguments]) if self._log.durable else "")
        try:
            await self._permitted(ChildAsked(asked, handler, call.arguments, SpawnOptions()))
        except Denied as denied:
            return denied
        except Halt as halt:
            await self._halt(halt)
        return None

    async def _ask_agent(self, tool: AgentTool, call: ToolCall, key: str) -> ToolResult:
        """The answer of a sub-agent: a child task, or a nested run."""
        handler = f"agent/{tool.agent.name}"
        try:
            told_it = tool.input_of(call.arguments)
            what = digest([handler, told_it]) if self._log.durable else ""
            wanted = ChildAsked(Asked(key, "spawn", handler, what), handler, told_it, SpawnOptions())
            [value] = await self._spawn([wanted], self._lenders.get(key, 1))
        except BudgetExceeded:
            raise
        except (StepError, InvalidInput, NotFound) as error:
            return refused(call, error)
        return told(call, value, options_of(tool), key)

    async def _act_in_turns(self, calls: Sequence[ToolCall], keys: Sequence[str]) -> list[ToolResult]:
        """Calls beside one another; a sequential one begins when those before it have ended, and is alone."""
        belt, results = self._belt, list[ToolResult]()
        if not belt.has_sequential:
            return await self._fan_out([self._act(call, key) for call, key in zip(calls, keys, strict=True)])
        beside: list[tuple[ToolCall, str]] = []
        for call, key in zip(calls, keys, strict=True):
            if belt.is_sequential(call.name):
                results += await self._fan_out([self._act(*one) for one in beside])
                results.append(await self._act(call, key))
                beside = []
            else:
                beside.append((call, key))
        return results + await self._fan_out([self._act(*one) for one in beside])

    async def _act(self, call: ToolCall, key: str) -> ToolResult:
        tool = self._belt.find(call.name)
        if tool is None and self._belt.was_offered(call.name):
            tool = await self._belt.again(call.name, self._tool_context(""))
        if tool is None:
            return await self._refuse(call, key, self._belt.unknown(call.name), "not_found")
        if call.name in self._belt.closed(self._here().prefix):
            words = f"{call.name!r} is closed for the rest of this run. Go on without it."
            return await self._refuse(call, key, words, "denied")
        if call.malformed is not None:
            words = f"The arguments were not a JSON object: {call.malformed[:200]!r}. Send them again as JSON."
            return await self._refuse(call, key, words, "invalid_input")
        if isinstance(tool, AgentTool):
            return await self._ask_agent(tool, call, key)
        if isinstance(tool, HandoffTool):
            if (no := await self._handoff_denied(tool, call, key)) is not None:
                return refused(call, no)
            return told(call, f"{tool.agent.name!r} goes on with this conversation.", options_of(tool), key)
        what = digest([call.name, call.arguments]) if self._log.durable else ""
        tool, given = meant(tool, call.arguments)
        options = options_of(tool)
        own = options.retry
        gate = self._tool_gate(tool, given)
        looks = 0 if self.guards is None else self.guards.looks(call.name)

        async def perform() -> ToolResult:
            arguments = gate.arguments if gate is not None else given
            try:
                value = await use(tool, arguments, self._tool_context(key, tool.name, call.id))
                if parts := parts_of(value):
                    return ToolResult(call.id, call.name, words_of(parts), parts=parts)
                value = tool_json(call.name, value)
            except Halt:
                raise
            except FAULTS as error:
                if asks_to_wait(error) or (own is not None and policy_for(own, normalised(error).error_type)):
                    raise
                return refused(call, error)
            result = told(call, value, options, key)
            return with_changes(result, arguments) if gate is not None and gate.changed else result

        try:
            result = await self._once(
                Asked(key, "act", call.name, what),
                perform,
                encode=result_encoder(call, asked=call.id in self._wanted, looks=looks),
                decode=result_from_json,
                effect=tool.effect,
                arguments=call.arguments,
                retry=own or TOOL_RETRY,
                ask=self._check_of(tool, key),
                gate=gate,
                charge=None if self._spender is None else self._spender.tool_call(),
            )
        except BudgetExceeded:
            raise
        except (StepError, InvalidInput, NotFound) as error:  # after its retries, by an operator's word, or too large
            return refused(call, error)
        return result if result.call_id else replace(result, call_id=call.id)

    async def propose(
        self,
        plan: Plan,
        *,
        ask: bool = False,
        remark: str = "",
        by: str | None = None,
        to: str | None = None,
        timeout_s: float | None = None,
    ) -> PlanVerdict:
        if plan != self._shown:
            self._plans, self._shown = self._plans + 1, plan
            told = {"agent": self.agent, "number": self._plans, "plan": plan_json(plan)}
            await self.tell("plan.made", told if by is None else {**told, "by": by})
        if not ask:
            return PlanVerdict(decision="approve")
        question = plan_question(self.agent, plan, remark, to)
        return verdict_of(await self.put(question, timeout_s=timeout_s, default=NOBODY))
