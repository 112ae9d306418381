"""What an agent thinks: the calls of its model, answers until one fits, windows and prices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from opspawn.agentkit.answering import form_of, unfit, validated, without_answers
from opspawn.agentkit.approvals import Gate
from opspawn.agentkit.bound import BoundModel
from opspawn.agentkit.budget import Needs
from opspawn.agentkit.codec import (
    response_from_json,
    response_to_json,
    usage_to_json,
)
from opspawn.agentkit.compacting import Compactor
from opspawn.agentkit.context import Context
from opspawn.agentkit.deciding import Policies
from opspawn.agentkit.digests import combine, message_digest
from opspawn.agentkit.estimates import estimated
from opspawn.agentkit.guardrails import Guardrail, Guards
from opspawn.agentkit.listening import Listener
from opspawn.agentkit.metering import Meter, metered
from opspawn.agentkit.output import Fit, Misfit, Output
from opspawn.agentkit.plain import as_text
from opspawn.agentkit.rates import estimated_tokens, settlement
from opspawn.agentkit.recorded import Asked
from opspawn.agentkit.retries import MODEL_RETRY
from opspawn.agentkit.spending import Charge, Spender
from opspawn.agentkit.subagents import HandoffTool, SubAgent
from opspawn.agentkit.toolbelt import Toolbelt, names_in, specs_of
from opspawn.agentkit.watched import held
from opspawn.agentkit.window import Window
from opspawn.contracts.model import Message, ModelCapabilities, ModelRequest, ModelResponse, Usage
from opspawn.contracts.plan import Plan
from opspawn.contracts.planner import PlannerResult, Reason
from opspawn.contracts.run import AGENTS_OWN
from opspawn.contracts.store import Take
from opspawn.contracts.tool import Tool, ToolSource
from opspawn.errors import Denied, ModelError


class Thinking(Context):
    """The part of a run that asks the model: see `AgentRun`."""

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
        self.models, self.asides = base.models, base.asides
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
        self._beside: tuple[Message, ...] = ()
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
        if self._beside:
            place = next((n for n, one in enumerate(messages) if one.role != "system"), len(messages))
            messages = [*messages[:place], *self._beside, *messages[place:]]
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
        self._beside = (*self._beside, message)
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
