"""What a tool may do of its run in the middle of its call: ask people, ask a model, tell how far it is.

A call is one step, and has no way to the journal of its own; these are steps of the run at keys below that of the call.
Keys are made of what is asked, not of its turn: a call that is made again after a crash may come to it by another way,
and finds what was answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from opspawn.agentkit.bound import BoundModel
from opspawn.agentkit.budget import Needs
from opspawn.agentkit.codec import response_from_json, response_to_json
from opspawn.agentkit.deciding import Policies, as_decider
from opspawn.agentkit.digests import digest
from opspawn.agentkit.estimates import estimated
from opspawn.agentkit.ledger import ASIDE
from opspawn.agentkit.metering import Meter, metered
from opspawn.agentkit.rates import estimated_tokens, settlement
from opspawn.agentkit.recorded import Asked
from opspawn.agentkit.retries import MODEL_RETRY
from opspawn.contracts.model import Message, ModelRequest, ModelResponse
from opspawn.contracts.question import NO_DEFAULT, Answer, Question
from opspawn.contracts.tool import ModelAsk
from opspawn.errors import InvalidInput, ToolError

if TYPE_CHECKING:
    from opspawn.agentkit.acting import Acting

#: A tool is heard of at most this often, in seconds; its last word on a whole is always heard.
HEARD_S = 0.1
_LONGEST_NOTE = 500


class Within:
    """One call of a tool, as its run sees it."""

    __slots__ = ("_call", "_count", "_heard", "_key", "_loop", "_run", "_tool")

    def __init__(self, run: Acting, key: str, tool: str = "", call: str | None = None) -> None:
        self._run = run
        self._key = key
        self._tool = tool
        self._call = call
        self._count: dict[str, int] = {}
        self._heard = float("-inf")
        self._loop = asyncio.get_running_loop()

    def _turn(self, what: str) -> int:
        self._count[what] = self._count.get(what, 0) + 1
        return self._count[what]

    async def ask(self, question: Question) -> Answer:
        """Put a question to people."""
        run, what = self._run, digest([question.text, list(question.choices), question.schema])
        asked = Asked(f"{self._key}/ask/{what[:12]}/{self._turn(what)}", "ask", "ask", what)
        told = await run._from_outside(asked, lambda: run._log.ask(asked, question, None, NO_DEFAULT))
        return Answer(told["value"], told.get("by"), told.get("question"), expired=told.get("expired", False))

    # -- models --------------------------------------------------------------------------------------------------------

    async def think(self, ask: ModelAsk) -> ModelResponse:
        """Ask a model, once. Raises: Denied, ModelError, BudgetExceeded; ToolError: there is none, or it was enough."""
        run = self._run
        if run.models is None:
            raise ToolError("No model can be asked here.", error_type="config")
        model = run.models(ask.model)
        model = replace(model, settings={**model.settings, **ask.settings})
        shown = [{"role": one.role, "content": one.content} for one in ask.messages]
        what = digest([model.spec, ask.purpose, shown, dict(ask.settings)])
        asked = Asked(f"{self._key}{ASIDE}{ask.purpose}/{what[:12]}/{self._turn(what)}", "think", ask.purpose, what)
        estimate = estimated_tokens(ask.messages, model.settings.get("max_tokens"))
        self._enough(ask, asked, estimate)
        policies = run._policies if ask.decider is None else run._policies + Policies((as_decider(ask.decider),))
        arguments = {"tools": [], "purpose": ask.purpose, "messages": shown}
        name = model.spec or model.name
        gate = run._gate_of(policies, "model", name, arguments, what, messages=tuple(ask.messages))
        takes = run._log.rates.of_model(model.spec, estimate) if run._log.rates.limits(model.spec) else []

        async def perform() -> ModelResponse:
            messages = _edited(gate.arguments) if gate is not None and gate.changed else tuple(ask.messages)
            request = ModelRequest(model.name, messages, (), None, model.settings)
            answer = await metered(Meter(run._log), model.complete(request))
            if takes:
                used = answer.usage.input_tokens + answer.usage.output_tokens
                run._log.owe(settlement(takes, estimate, used))
            return answer

        spender = run._spender
        response = await run._once(
            asked,
            perform,
            encode=response_to_json,
            decode=response_from_json,
            retry=MODEL_RETRY,
            takes=takes,
            gate=gate,
            charge=None if spender is None else spender.model_call(partial(_needs, model, ask.messages)),
        )
        tokens = response.usage.input_tokens + response.usage.output_tokens
        run.asides.setdefault(ask.purpose, {})[f"think {asked.key}"] = tokens
        run._log.aside(asked.key, response.usage)
        return response

    def _enough(self, ask: ModelAsk, asked: Asked, estimate: float) -> None:
        """Raises: ToolError: what may be asked for this purpose in one run is used up."""
        used = self._run._log.ledger.aside(ask.purpose) | self._run.asides.get(ask.purpose, {})
        if f"think {asked.key}" in used:
            return
        for limit, spent, unit in (
            (ask.most_calls, len(used) + 1, "calls"),
            (ask.most_tokens, sum(used.values()) + estimate, "tokens"),
        ):
            if limit is not None and spent > limit:
                raise ToolError(
                    f"The budget of {ask.purpose} is used up: {limit:,} {unit} in a run.", error_type="budget"
                )

    # -- progress ------------------------------------------------------------------------------------------------------

    def report(self, note: str | None, done: float | None, total: float | None) -> None:
        """Tell whoever follows the run how far the call is; what comes too soon after the last is not passed on."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            self._tell(note, done, total)
        elif not self._loop.is_closed():  # a tool in a thread
            self._loop.call_soon_threadsafe(self._tell, note, done, total)

    def _tell(self, note: str | None, done: float | None, total: float | None) -> None:
        log = self._run._log
        now = log.clock.monotonic()
        if now - self._heard < HEARD_S and not (done is not None and done == total):
            return
        self._heard = now
        note = note if note is None or len(note) <= _LONGEST_NOTE else f"{note[:_LONGEST_NOTE]}…"
        told = {"note": note, "done": done, "total": total, "tool": self._tool or None, "call": self._call}
        log.report({name: value for name, value in told.items() if value is not None})


async def _needs(model: BoundModel, messages: Sequence[Message]) -> Needs:
    return (await estimated(model, messages, (), priced=True))[0]


def _edited(arguments: Any) -> tuple[Message, ...]:
    """The messages as an approver has changed them. Raises: InvalidInput: they are none."""
    try:
        return tuple(Message(one["role"], str(one["content"])) for one in arguments["messages"])
    except (KeyError, TypeError) as error:
        raise InvalidInput("The messages that the approver gave are none: each has role and content.") from error
