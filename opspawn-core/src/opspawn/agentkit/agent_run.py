"""The run context of an agent: a model and tools besides what every run has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from opspawn.agentkit.bound import BoundModel
from opspawn.agentkit.calling import options_of, refused, told, use
from opspawn.agentkit.codec import response_from_json, response_to_json, result_from_json, result_to_json
from opspawn.agentkit.context import Context
from opspawn.agentkit.digests import combine, digest, message_digest
from opspawn.agentkit.failures import normalised
from opspawn.agentkit.listening import Listener
from opspawn.agentkit.parts import parts_of, words_of
from opspawn.agentkit.plain import plain_json
from opspawn.agentkit.rates import estimated_tokens, settlement
from opspawn.agentkit.recorded import Asked
from opspawn.agentkit.retries import MODEL_RETRY, asks_to_wait, policy_for
from opspawn.agentkit.toolbelt import Toolbelt, names_in, specs_of
from opspawn.contracts.model import Message, ModelRequest, ModelResponse, ToolCall, Usage
from opspawn.contracts.retry import RetryPolicy
from opspawn.contracts.store import Take
from opspawn.contracts.tool import Tool, ToolResult, ToolSource
from opspawn.errors import Halt, InvalidInput, NotFound, StepError

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
        self._model = model
        self._belt = Toolbelt(tools, sources)
        self._digests: dict[int, tuple[Message, bytes]] = {}
        self.instructions = instructions
        self.tools: Sequence[Tool] = tuple(tools)
        self.max_steps = max_steps
        self.usage = Usage()

    async def think(self, messages: Sequence[Message], *, tools: Sequence[Tool] | None = None) -> ModelResponse:
        estimated, takes = self._price(messages)
        scope = self._here()
        key = scope.enter("think")
        belt = self._belt
        listener = Listener(self._log.delta)

        async def perform() -> ModelResponse:
            if belt.dynamic:
                await belt.ask(self._tool_context(""))
            specs = belt.specs() if tools is None else specs_of(tools)
            request = ModelRequest(self._model.name, tuple(messages), specs, None, self._model.settings)
            listener.begin()
            answer = await self._model.complete(request, listener)
            if takes:
                used = answer.usage.input_tokens + answer.usage.output_tokens
                self._log.owe(settlement(takes, estimated, used))
            return answer

        try:
            response = await self._once(
                Asked(key, "think", "think", self._conversation(messages)),
                perform,
                encode=self._with_names if belt.dynamic else response_to_json,
                decode=self._from_names if belt.dynamic else response_from_json,
                retry=MODEL_RETRY,
                takes=takes,
            )
        finally:
            scope.leave("think")
        self.usage += response.usage
        return response

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
            if len(calls) == 1:
                results = [await self._act(calls[0], keys[0])]
            else:
                results = await self._act_in_turns(calls, keys)
        finally:
            scope.leave("act")
        return self._belt.note(results, keys)

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
            return refused(call, self._belt.unknown(call.name), "not_found")
        if call.name in self._belt.closed:
            return refused(call, f"{call.name!r} is closed for the rest of this run. Go on without it.", "denied")
        if call.malformed is not None:
            words = f"The arguments were not a JSON object: {call.malformed[:200]!r}. Send them again as JSON."
            return refused(call, words, "invalid_input")
        what = digest([call.name, call.arguments]) if self._log.durable else ""
        options = options_of(tool)
        own = options.retry

        async def perform() -> ToolResult:
            try:
                value = await use(tool, call.arguments, self._tool_context(key))
                if parts := parts_of(value):
                    return ToolResult(call.id, call.name, words_of(parts), parts=parts)
                value = plain_json(value)
            except Halt:
                raise
            except (Exception, SystemExit) as error:
                if asks_to_wait(error) or (own is not None and policy_for(own, normalised(error).error_type)):
                    raise
                return refused(call, error)
            return told(call, value, options, key)

        try:
            result = await self._once(
                Asked(key, "act", call.name, what),
                perform,
                encode=result_to_json,
                decode=result_from_json,
                effect=tool.effect,
                arguments=call.arguments,
                retry=own or TOOL_RETRY,
                ask=self._check_of(tool, key),
            )
        except (StepError, InvalidInput, NotFound) as error:  # after its retries, by an operator's word, or too large
            return refused(call, error)
        return result if result.call_id else replace(result, call_id=call.id)

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
