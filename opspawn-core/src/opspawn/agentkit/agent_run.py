"""The run context of an agent: a model and tools besides what every run has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from opspawn.agentkit.answering import form_of, unfit, validated, without_answers
from opspawn.agentkit.approvals import Gate
from opspawn.agentkit.bound import BoundModel
from opspawn.agentkit.budget import Needs
from opspawn.agentkit.calling import USUAL, options_of, refused, told, use, with_changes
from opspawn.agentkit.children import ChildAsked, SpawnOptions
from opspawn.agentkit.codec import (
    response_from_json,
    response_to_json,
    result_from_json,
    usage_to_json,
)
from opspawn.agentkit.compacting import Compactor
from opspawn.agentkit.context import Context
from opspawn.agentkit.deciding import Policies
from opspawn.agentkit.digests import combine, digest, message_digest
from opspawn.agentkit.estimates import estimated
from opspawn.agentkit.failures import error_from_json, normalised
from opspawn.agentkit.guardrails import Guardrail, Guards
from opspawn.agentkit.listening import Listener
from opspawn.agentkit.meaning import meant
from opspawn.agentkit.metering import Meter, metered
from opspawn.agentkit.output import Fit, Misfit, Output
from opspawn.agentkit.parts import parts_of, words_of
from opspawn.agentkit.plain import as_text, tool_json
from opspawn.agentkit.planning import NOBODY, plan_json, plan_question, verdict_of
from opspawn.agentkit.rates import estimated_tokens, settlement
from opspawn.agentkit.recorded import Asked
from opspawn.agentkit.retries import MODEL_RETRY, asks_to_wait, policy_for
from opspawn.agentkit.spending import Charge, Spender
from opspawn.agentkit.subagents import AgentTool, HandedOver, HandoffTool, SubAgent
from opspawn.agentkit.toolbelt import Toolbelt, names_in, specs_of
from opspawn.agentkit.watched import held, result_encoder
from opspawn.agentkit.window import Window
from opspawn.contracts.model import Message, ModelCapabilities, ModelRequest, ModelResponse, ToolCall, Usage
from opspawn.contracts.plan import Plan, PlanVerdict
from opspawn.contracts.planner import PlannerResult, Reason
from opspawn.contracts.retry import RetryPolicy
from opspawn.contracts.run import AGENTS_OWN
from opspawn.contracts.store import Take
from opspawn.contracts.tool import Tool, ToolResult, ToolSource
from opspawn.errors import BudgetExceeded, Denied, Halt, InvalidInput, ModelError, NotFound, StepError

#: An agent is told at once of a tool that failed; only a service that says when to come back is waited for.
TOOL_RETRY = RetryPolicy(when=("rate_limited", "transient"))


class AgentRun(Context):
    """A run of an agent. See `opspawn.contracts.run.AgentContext`. `usage` counts replayed model calls, too."""

    def __init__(
        self,
        base: Context,
        *,
        name: str,
        instructions: str,
        model: BoundModel,
        tools: Sequence[Tool],
        max_steps: int,
        sources: Sequence[ToolSource] = (),
        form: Output | None = None,
        validators: Sequence[Callable[..., Any]] = (),
        history: Sequence[Message] = (),
        handoffs: Sequence[SubAgent] = (),
        policies: Policies | None = None,
        window: Window | None = None,
        cheaper: BoundModel | None = None,
        guardrails: Sequence[Guardrail] = (),
    ) -> None:
        super().__init__(
            base._log,
            name=name,
            input=base.input,
            task=base.task,
            session=base.session,
            deps=base.deps,
            branches=base._branches,
        )
        self._root = base._root
        self.attempt = base.attempt
        self.memories, self.namespace = base.memories, base.namespace
        self._policies = base._policies + (policies or Policies())
        self._spender = base._spender
        self._cheaper = cheaper
        self.guards = Guards(self, guardrails) if guardrails else None
        self._model = model
        self._transfers = {tool.name: tool for tool in map(HandoffTool, handoffs)}
        self._belt = Toolbelt((*tools, *self._transfers.values()) if handoffs else tools, sources)
        self._form = form
        self._validators = validators
        self._asked: Sequence[Message] = ()
        self._said: ModelResponse | None = None
        self._beside: Message | None = None
        self._wanted: set[str] = set()  # ids of the calls that the model asked for
        self._fit: Fit | None = None
        self._corrections = 0
        self._lenders: dict[str, int] = {}
        self._plans = 0
        self._shown: Plan | None = None
        self._forms: dict[int, tuple[Any, Output | None]] = {}
        self._digests: dict[int, tuple[Message, bytes]] = {}
        self.instructions = instructions
        self.tools: Sequence[Tool] = tuple(tools)
        self.history: Sequence[Message] = tuple(history)
        self.max_steps = max_steps
        self.usage = Usage()
        self._compactor = Compactor(
            window or Window(), model.capabilities().context_tokens, len(self.history), self._ask_for_notes, self.tell
        )

    async def think(
        self, messages: Sequence[Message], *, tools: Sequence[Tool] | None = None, output: Any = AGENTS_OWN
    ) -> ModelResponse:
        own = output is AGENTS_OWN
        form = self._form if own else self._form_of(output)
        if self.guards is not None:
            messages, response = await self._think_guarded(self.guards, form, messages, tools, own)
        elif form is None:
            response = await self._think(messages, tools, None)
        else:
            messages, response = await self._think_until_fit(form, messages, tools, own)
        if own or output is None:
            self._asked, self._said = tuple(messages), response
        return response

    async def _think_guarded(
        self, guards: Guards, form: Output | None, messages: Sequence[Message], tools: Sequence[Tool] | None, own: bool
    ) -> tuple[Sequence[Message], ModelResponse]:
        """What is asked, beside those who look at the input, and a final answer as it is let pass. Raises: Denied."""

        async def answer() -> tuple[Sequence[Message], ModelResponse]:
            if form is not None:
                return await self._think_until_fit(form, messages, tools, own)
            return messages, await self._think(messages, tools, None)

        asked, response = await guards.beside(answer())
        if not own or response.tool_calls or not response.text:
            return asked, response
        said = await self._let_out(guards, response.text)
        if said == response.text:
            return asked, response
        if self._form is not None:
            self._fit = _fitting(self._form, said)
            said = self._fit.text
        return asked, replace(response, text=said, parts=())

    async def _let_out(self, guards: Guards, text: str) -> str:
        scope = self._here()
        key = scope.enter("guard")
        try:
            return await guards.output(text, key)
        finally:
            scope.leave("guard")

    def _form_of(self, output: Any) -> Output | None:
        """What a planner asks for in between; read once for each type."""
        known = self._forms.get(id(output))
        if known is None or known[0] is not output:
            known = self._forms[id(output)] = output, form_of(output, self._model)
        return known[1]

    @property
    def conversation(self) -> tuple[Message, ...]:
        """What was said so far, up to the model's last answer, without the system message; whole, also where a window
        has shown the model less of it.
        """
        said = () if self._said is None else (self._said.message(),)
        return tuple(message for message in (*self._asked, *said) if message.role != "system")

    async def conclude(self, result: PlannerResult) -> tuple[Fit, Reason]:
        """The planner's answer as the typed value, and its reason. One that does not fit goes back to the model.

        Raises: ModelError (invalid_output): no answer fitted.
        """
        fit, reason = await self._concluded(result)
        if self.guards is None:
            return fit, reason
        text = fit.text or as_text(fit.plain)
        said = await self._let_out(self.guards, text)
        if said == text:
            return fit, reason
        return (Fit(said, said, "") if self._form is None else _fitting(self._form, said)), reason

    async def _concluded(self, result: PlannerResult) -> tuple[Fit, Reason]:
        form, output = self._form, result.output
        if form is None:
            return Fit(output, output, ""), result.reason
        if self._fit is not None and output == self._fit.text:
            return self._fit, result.reason
        found = form.of(output)
        if isinstance(found, Fit):
            found = await self._validated(form, found)
        if isinstance(found, Misfit):
            words = Message("user", f"{found.words} Answer again.")
            await self.think([*self._asked, *([] if self._said is None else [self._said.message()]), words], tools=())
            if self._fit is None:
                raise unfit(form, found.words, 1)
            found = self._fit
        return found, result.reason

    async def _think_until_fit(
        self, form: Output, messages: Sequence[Message], tools: Sequence[Tool] | None, own: bool
    ) -> tuple[Sequence[Message], ModelResponse]:
        """Ask until the answer fits, or calls tools; with it the conversation as it was asked last."""
        asked = list(messages)
        while True:
            response = await self._think(form.told(asked), tools, form)
            _, others = form.split(response)
            if others:
                return asked, without_answers(response, others)
            if response.finish_reason == "content_filter" and not response.tool_calls:
                return asked, response
            found = form.read(response)
            if own and isinstance(found, Fit):
                found = await self._validated(form, found)
            if isinstance(found, Fit):
                if own:
                    self._fit = found
                return asked, replace(response, text=found.text, tool_calls=(), parts=(), finish_reason="stop")
            self._corrections += 1
            if self._corrections > form.retries:
                raise unfit(form, found.words, self._corrections)
            asked += form.correction(response, found.words)

    async def _validated(self, form: Output, fit: Fit) -> Fit | Misfit:
        """What the agent's own validators make of an answer; recorded, since they may look at the world."""
        if not self._validators:
            return fit

        async def check() -> Any:
            return await validated(self._validators, self, form, fit)

        told = await self.step("check the answer", check)
        if "retry" in told:
            return Misfit(told["retry"])
        return form.again(told["value"], fit)

    async def _think(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None, form: Output | None
    ) -> ModelResponse:
        """One model call, with as much of the conversation as it can read."""
        if self._beside is not None:
            place = next((n for n, one in enumerate(messages) if one.role != "system"), len(messages))
            messages = [*messages[:place], self._beside, *messages[place:]]
        compactor, where = self._compactor, self._here().prefix
        sent = messages if compactor.idle else await compactor.fitted(messages, where)
        try:
            response = await self._call_model("think", sent, tools, form)
        except ModelError as error:
            if error.error_type != "context_overflow":
                raise
            shorter = await compactor.overflowed(messages, sent, where)
            if shorter is None:
                raise
            sent = shorter
            response = await self._call_model("think", sent, tools, form)
        compactor.note(sent, response.usage.input_tokens, where)
        return response

    def show(self, message: Message) -> None:
        """Show the model something with every call that is no part of the conversation."""
        self._beside = message
        self._compactor.shift()

    async def ask_aside(self, name: str, messages: Sequence[Message]) -> ModelResponse:
        """A model call of the run beside its conversation: recorded and counted, and not streamed."""
        return await self._call_model(name, messages, (), None)

    async def _ask_for_notes(self, messages: Sequence[Message]) -> ModelResponse:
        return await self.ask_aside("compact", messages)

    async def _call_model(
        self, name: str, messages: Sequence[Message], tools: Sequence[Tool] | None, form: Output | None
    ) -> ModelResponse:
        """One model call as it is recorded; only those of the conversation itself are streamed."""
        estimated, takes = self._price(messages)
        scope = self._here()
        key = scope.enter(name)
        belt = self._belt
        dynamic = belt.dynamic and name == "think"
        hold = name == "think" and self.guards is not None and self.guards.hold_answers
        listener = Listener(self._log.alive if hold else self._log.delta) if name == "think" else None
        encode = self._with_names if dynamic else response_to_json

        async def perform() -> ModelResponse:
            if dynamic:
                await belt.ask(self._tool_context(""))
            specs = belt.specs(scope.prefix) if tools is None else specs_of(tools)
            schema = None
            if form is not None:
                specs, schema = (*specs, *form.tools), form.schema
            model = self._model if self._spender is None else self._affordable
            request = ModelRequest(model.name, tuple(messages), specs, schema, model.settings)
            if listener is not None:
                listener.begin()
            asking = model.complete(request, listener)
            answer = await (metered(Meter(self._log), asking) if self._has_rates(model) else asking)
            if takes:
                used = answer.usage.input_tokens + answer.usage.output_tokens
                self._log.owe(settlement(takes, estimated, used))
            return answer

        conversation = self._conversation(messages)
        try:
            response = await self._once(
                Asked(key, "think", name, conversation),
                perform,
                encode=held(encode) if hold else encode,
                decode=self._from_names if dynamic else response_from_json,
                retry=MODEL_RETRY,
                takes=takes,
                gate=self._model_gate(messages, conversation, tools) if self._policies else None,
                charge=None if self._spender is None else self._model_charge(self._spender, messages, tools, form),
            )
        finally:
            scope.leave(name)
        self.usage += response.usage
        self._wanted.update([call.id for call in response.tool_calls])
        return response

    @property
    def _affordable(self) -> BoundModel:
        """The agent's model, or the cheaper one that goes on since its budget was used up."""
        gone_on = self._cheaper is not None and self._spender is not None and self._spender.purse.ledger.cheaper
        return self._cheaper if gone_on and self._cheaper is not None else self._model

    def _model_charge(
        self, spender: Spender, messages: Sequence[Message], tools: Sequence[Tool] | None, form: Output | None
    ) -> Charge:
        specs = self._belt.specs(self._here().prefix) if tools is None else specs_of(tools)
        specs = specs if form is None else (*specs, *form.tools)

        async def needs() -> Needs:
            priced, ledger = spender.purse.limited("usd"), spender.purse.ledger
            found, unpriced = await estimated(self._affordable, messages, specs, priced=priced)
            ledger.unpriced = unpriced or ledger.unpriced
            return found

        return spender.model_call(needs)

    def _model_gate(self, messages: Sequence[Message], what: str, tools: Sequence[Tool] | None) -> Gate | None:
        offered = self._belt.specs(self._here().prefix) if tools is None else specs_of(tools)
        names = [spec.name for spec in offered]
        model = self._model.spec or self._model.name or type(self._model.provider).__name__
        return self._gate("model", model, {"tools": names}, what, messages=tuple(messages))

    def _has_rates(self, model: BoundModel) -> bool:
        """Whether it is a list of models some of which have a rate."""
        members = getattr(model.provider, "members", ())
        return bool(members) and any(self._log.rates.limits(one.spec) for one in members)

    @property
    def capabilities(self) -> ModelCapabilities:
        return self._model.capabilities()

    def ended(self, reason: Reason, *, error: bool = False) -> None:
        """Tell why the planner stopped; it is recorded with the end of the task."""
        self._log.answered({"agent": self.agent, "reason": reason, "usage": usage_to_json(self.usage), "error": error})

    def _price(self, messages: Sequence[Message]) -> tuple[float, list[Take]]:
        """How many tokens a call may use, and what to spend for it; nothing where its model has no rate."""
        rates, spec = self._log.rates, self._model.spec
        if not rates.limits(spec):
            return 0, []
        estimated = estimated_tokens(messages, self._model.settings.get("max_tokens"))
        return estimated, rates.of_model(spec, estimated)

    def _with_names(self, response: ModelResponse) -> dict[str, Any]:
        return response_to_json(response) | {"offered": self._belt.names}

    def _from_names(self, data: dict[str, Any]) -> ModelResponse:
        self._belt.recorded(names_in(data))
        return response_from_json(data)

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
                value = await use(tool, arguments, self._tool_context(key))
                if parts := parts_of(value):
                    return ToolResult(call.id, call.name, words_of(parts), parts=parts)
                value = tool_json(call.name, value)
            except Halt:
                raise
            except (Exception, SystemExit) as error:
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

    def _conversation(self, messages: Sequence[Message]) -> str:
        """The digest of a conversation; each message is digested once per run, since conversations only grow."""
        if not self._log.durable:
            return ""
        parts = []
        for message in messages:
            known = self._digests.get(id(message))
            if known is None or known[0] is not message:
                known = self._digests[id(message)] = (message, message_digest(message))
            parts.append(known[1])
        return combine(parts)


def _fitting(form: Output, said: str) -> Fit:
    """What a guardrail put in the place of an answer. Raises: Denied: it is none of the wanted type."""
    found = form.read_text(said)
    if isinstance(found, Misfit):
        raise Denied(f"What a guardrail put in the place of the answer does not fit. {found.words}")
    return found
