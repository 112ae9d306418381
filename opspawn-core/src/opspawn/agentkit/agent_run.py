"""The run context of an agent: a model and tools besides what every run has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from opspawn.agentkit.bound import BoundModel
from opspawn.agentkit.codec import response_from_json, response_to_json, result_from_json, result_to_json
from opspawn.agentkit.context import Context
from opspawn.agentkit.digests import combine, digest, message_digest
from opspawn.agentkit.log import Asked
from opspawn.agentkit.parts import parts_of, words_of
from opspawn.agentkit.plain import as_text, plain_json
from opspawn.agentkit.retries import MODEL_RETRY, asks_to_wait
from opspawn.contracts.model import Message, ModelRequest, ModelResponse, ToolCall, ToolSpec, Usage
from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.tool import Tool, ToolResult
from opspawn.errors import Halt, InvalidInput, StepError

#: An agent is told at once of a tool that failed; only a service that says when to come back is waited for.
TOOL_RETRY = RetryPolicy(when=("rate_limited", "transient"))


class AgentRun(Context):
    """A run of an agent. See `opspawn.contracts.run.AgentContext`. `usage` counts replayed model calls, too."""

    def __init__(
        self, base: Context, *, name: str, instructions: str, model: BoundModel, tools: Sequence[Tool], max_steps: int
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
        self._model = model
        self._specs = tuple(ToolSpec(tool.name, tool.description, tool.parameters) for tool in tools)
        self._by_name = {tool.name: tool for tool in tools}
        self._digests: dict[int, tuple[Message, bytes]] = {}
        self.instructions = instructions
        self.tools: Sequence[Tool] = tuple(tools)
        self.max_steps = max_steps
        self.usage = Usage()

    async def think(self, messages: Sequence[Message], *, tools: Sequence[Tool] | None = None) -> ModelResponse:
        specs = self._specs if tools is None else tuple(ToolSpec(t.name, t.description, t.parameters) for t in tools)
        request = ModelRequest(self._model.name, tuple(messages), specs, None, self._model.settings)
        scope = self._here()
        key = scope.enter("think")
        try:
            response = await self._once(
                Asked(key, "think", "think", self._conversation(messages)),
                lambda: self._model.provider.complete(request, self._log.delta),
                encode=response_to_json,
                decode=response_from_json,
                retry=MODEL_RETRY,
            )
        finally:
            scope.leave("think")
        self.usage += response.usage
        return response

    async def act(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        scope = self._here()
        stem = scope.enter("act")
        try:
            if len(calls) == 1:
                return [await self._act(calls[0], f"{stem}/0")]
            return await self._fan_out([self._act(call, f"{stem}/{index}") for index, call in enumerate(calls)])
        finally:
            scope.leave("act")

    async def _act(self, call: ToolCall, key: str) -> ToolResult:
        tool = self._by_name.get(call.name)
        if tool is None:
            known = ", ".join(self._by_name) or "none"
            return _refusal(call, f"There is no tool {call.name!r}. Tools: {known}.")
        if call.malformed is not None:
            return _refusal(
                call, f"The arguments were not a JSON object: {call.malformed[:200]!r}. Send them again as JSON."
            )
        what = digest([call.name, call.arguments]) if self._log.durable else ""

        async def perform() -> ToolResult:
            try:
                value = await self._use(tool, call.arguments, key, None)
                if parts := parts_of(value):
                    return ToolResult(call.id, call.name, words_of(parts), parts=parts)
                value = plain_json(value)
            except Halt:
                raise
            except (Exception, SystemExit) as error:
                if asks_to_wait(error):
                    raise
                return _refusal(call, _in_words(error))
            return ToolResult(call.id, call.name, as_text(value), value)

        try:
            result = await self._once(
                Asked(key, "act", call.name, what),
                perform,
                encode=result_to_json,
                decode=result_from_json,
                effect=tool.effect,
                arguments=call.arguments,
                retry=TOOL_RETRY,
                ask=self._check_of(tool, key),
            )
        except (StepError, InvalidInput) as error:  # an operator decided that it failed, or it is too large
            return _refusal(call, _in_words(error))
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


def _refusal(call: ToolCall, words: str) -> ToolResult:
    return ToolResult(call.id, call.name, words, None, True)


def _in_words(error: BaseException) -> str:
    if isinstance(error, InvalidInput) and error.faults:
        return f"{error.message} {'; '.join(error.faults)}"
    return str(error) or type(error).__name__
