"""The run context: the one implementation of `RunContext` and `AgentContext`, in memory and durable alike.

Each act follows the same five moves: name the step (scope, name, ordinal), ask the log for a recorded end, pass the gate, do
the thing with its retries, record the end. Only the log differs between a run in memory and one that survives a crash.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic_core import to_jsonable_python

from opspawn.agentkit.branches import Branches
from opspawn.agentkit.codec import response_from_json, response_to_json, result_from_json, result_to_json
from opspawn.agentkit.digests import combine, digest, message_digest
from opspawn.agentkit.failures import error_from_json, error_to_json, normalised
from opspawn.agentkit.log import Asked, Recorded, StepLog, backoff_s, sleep_until
from opspawn.contracts.model import Message, ModelProvider, ModelRequest, ModelResponse, ToolCall, ToolSpec, Usage
from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.tool import Effect, Tool, ToolContext, ToolResult
from opspawn.errors import Halt, InvalidInput, ModelError, StepError, StepFailed, StepTimeout, ToolError

T = TypeVar("T")

ONE_TRY = RetryPolicy()
MODEL_RETRY = RetryPolicy(attempts=4, initial_s=1.0, max_s=30.0, when=("transient", "timeout", "rate_limited"))
#: A provider that answers "come back later" this often in a row for one call has refused it.
MAX_POSTPONEMENTS = 20


@dataclass(frozen=True, slots=True)
class BoundModel:
    """A provider with the model to ask it for, and the settings that go along with every request."""

    provider: ModelProvider
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


class _Scope:
    """A part of a run within which names are counted; `gather` opens one per branch, so that branches may race."""

    __slots__ = ("busy", "counts", "prefix", "run")

    def __init__(self, run: object, prefix: str) -> None:
        self.run = run
        self.prefix = prefix
        self.counts: dict[str, int] = {}
        self.busy: set[str] = set()

    def key(self, name: str, explicit: str | None) -> str:
        label = explicit if explicit is not None else name
        ordinal = self.counts.get(label, 0)
        self.counts[label] = ordinal + 1
        return f"{self.prefix}{label}" if ordinal == 0 else f"{self.prefix}{label}#{ordinal}"

    def enter(self, name: str, explicit: str | None) -> None:
        if explicit is None:
            if name in self.busy:
                raise StepFailed(
                    f"{name!r} was called again while a call of that name is in flight: give one a key=, or use ctx.gather.",
                    error_type="invalid_input",
                )
            self.busy.add(name)


_scope: ContextVar[_Scope | None] = ContextVar("opspawn_scope", default=None)


class Context:
    """A run of anything. See `opspawn.contracts.run.RunContext` for what each method promises."""

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
        self._root = _Scope(self, "")
        self.agent = name
        self.input = input
        self.task = task
        self.session = session
        self.deps = deps

    # -- what everything stands on -------------------------------------------------------------------------------------

    def _here(self) -> _Scope:
        scope = _scope.get()
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
        retry: RetryPolicy = ONE_TRY,
    ) -> T:
        """Perform a step unless the log has its end. Raises: what `normalised` makes of the step's final error."""
        log = self._log
        if log.durable:
            known = log.recall(asked)
            if known is not None:
                return decode(_outcome(asked, known))
        failures = await self._sit_out(asked, log.tries(asked.key))
        while True:
            await self._branches.gate()
            log.check()
            with self._branches.step():
                began = time.perf_counter()
                try:
                    if effect == "once":
                        await log.begin(asked, arguments)
                    value = await perform()
                    result = encode(value)
                except Halt:
                    raise
                except Exception as error:
                    final = normalised(error)
                    failures += 1
                    delay = _delay(final, retry, failures)
                    told = error_to_json(final)
                    if delay is None:
                        await log.failed(asked, told, time.perf_counter() - began)
                        if isinstance(final, StepError):
                            final.key = asked.key
                        raise final from (error if error is not final else None)
                    until = await log.retry(asked, failures, told, delay)
                else:
                    await log.done(asked, result, time.perf_counter() - began)
                    return value if decode is not _same else result
            with self._branches.waiting(outside=True, until=until):
                await sleep_until(until)

    async def _sit_out(self, asked: Asked, tries: list[float]) -> int:
        """Wait out the last recorded backoff of a step; the answer is how many tries have failed so far."""
        if tries and tries[-1] > time.time():
            with self._branches.waiting(outside=True, until=tries[-1]):
                await sleep_until(tries[-1])
        return len(tries)

    # -- acting --------------------------------------------------------------------------------------------------------

    async def step(
        self, name: str, fn: Callable[..., Any], *args: Any, effect: Effect = "idempotent", key: str | None = None
    ) -> Any:
        scope = self._here()
        scope.enter(name, key)
        try:
            asked = Asked(scope.key(name, key), "step", name, digest([name, args]) if self._log.durable else "")

            async def perform() -> Any:
                if asyncio.iscoroutinefunction(fn):
                    return await fn(*args)
                value = await asyncio.to_thread(fn, *args)
                return await value if isinstance(value, Awaitable) else value

            return await self._once(
                asked, perform, encode=_plain_json, decode=_same, effect=effect, arguments=_shown(args, self._log)
            )
        finally:
            scope.busy.discard(name)

    async def call(
        self,
        tool: Tool,
        arguments: dict[str, Any],
        *,
        key: str | None = None,
        timeout_s: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> Any:
        asked = self._asked("tool", tool.name, key, arguments)
        return await self._once(
            asked,
            lambda: self._use(tool, arguments, asked.key, timeout_s),
            encode=_plain_json,
            decode=_same,
            effect=tool.effect,
            arguments=arguments,
            retry=retry or ONE_TRY,
        )

    async def spawn(
        self,
        handler: str,
        input: Any = None,
        *,
        key: str | None = None,
        timeout_s: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> Any:
        asked = self._asked("spawn", handler, key, input)
        await self._branches.gate()
        with self._branches.step():
            ended = await self._log.spawn(asked, handler, input, timeout_s, retry)
        if not isinstance(ended, Recorded):
            with self._branches.waiting(outside=True):
                ended = await ended
        return _outcome(asked, ended)

    async def gather(self, *branches: Coroutine[Any, Any, Any]) -> list[Any]:
        stem = self._here().key("gather", None)

        async def scoped(index: int, branch: Coroutine[Any, Any, Any]) -> Any:
            _scope.set(_Scope(self._root.run, f"{stem}/{index}/"))
            return await branch

        return await self._fan_out([scoped(index, branch) for index, branch in enumerate(branches)])

    async def _fan_out(self, branches: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Run branches at once; results in order; the first failure cancels the others and is raised when they have ended."""
        left = len(branches)
        if not left:
            return []

        async def run(branch: Coroutine[Any, Any, T]) -> T:
            nonlocal left
            try:
                return await branch
            finally:
                left -= 1
                if left:
                    self._branches.ended()

        self._branches.fork(left)
        tasks = [asyncio.create_task(run(branch)) for branch in branches]
        try:
            return list(await asyncio.gather(*tasks))
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def join(self, other: Awaitable[T]) -> T:
        with self._branches.waiting(outside=False):
            return await other

    # -- time, chance, events ------------------------------------------------------------------------------------------

    async def sleep(self, seconds: float, *, key: str | None = None) -> None:
        asked = self._asked("sleep", "sleep", key, None)
        with self._branches.step():
            until = await self._log.timer(asked, seconds)
        if until > time.time():
            with self._branches.waiting(outside=True, until=until):
                await sleep_until(until)

    async def now(self) -> datetime:
        async def perform() -> datetime:
            return datetime.now(UTC)

        return await self._once(
            self._asked("now", "now", None, None), perform, encode=datetime.isoformat, decode=datetime.fromisoformat
        )

    async def random(self) -> float:
        async def perform() -> float:
            return random.random()

        return await self._once(self._asked("random", "random", None, None), perform, encode=float, decode=float)

    async def emit(self, name: str, data: dict[str, Any] | None = None) -> None:
        asked = self._asked("emit", f"custom.{name}", None, data)
        if self._log.recall(asked) is None:
            with self._branches.step():
                await self._log.emit(asked, data or {})

    # -- tools ---------------------------------------------------------------------------------------------------------

    async def _use(self, tool: Tool, arguments: dict[str, Any], key: str, timeout_s: float | None) -> Any:
        limit = timeout_s if timeout_s is not None else tool.timeout_s
        context = ToolContext(f"{self._log.identity}/{key}", self.agent, self.task, self.session, self.deps)
        if limit is None:
            return await tool.call(arguments, context)
        try:
            async with asyncio.timeout(limit) as timer:
                return await tool.call(arguments, context)
        except TimeoutError as error:
            if not timer.expired():
                raise
            raise StepTimeout(f"The tool {tool.name!r} did not end within {limit:g} s.") from error

    def _asked(self, kind: str, name: str, key: str | None, what: Any) -> Asked:
        return Asked(self._here().key(name, key), kind, name, digest([name, what]) if self._log.durable else "")

    def for_agent(
        self, *, name: str, instructions: str, model: BoundModel, tools: Sequence[Tool], max_steps: int
    ) -> AgentRun:
        """The same run, with a model and tools: what a planner acts through."""
        return AgentRun(self, name=name, instructions=instructions, model=model, tools=tools, max_steps=max_steps)


class AgentRun(Context):
    """A run of an agent. See `opspawn.contracts.run.AgentContext`. `usage` adds up the model calls, replayed ones included."""

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
        asked = Asked(self._here().key("think", None), "think", "think", self._conversation(messages))
        response = await self._once(
            asked,
            lambda: self._model.provider.complete(request, self._log.delta),
            encode=response_to_json,
            decode=response_from_json,
            retry=MODEL_RETRY,
        )
        self.usage += response.usage
        return response

    async def act(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        stem = self._here().key("act", None)
        if len(calls) == 1:
            return [await self._act(calls[0], f"{stem}/0")]
        return await self._fan_out([self._act(call, f"{stem}/{index}") for index, call in enumerate(calls)])

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
            except Halt:
                raise
            except Exception as error:
                return _refusal(call, _in_words(error))
            return ToolResult(call.id, call.name, _as_text(value), value)

        try:
            result = await self._once(
                Asked(key, "act", call.name, what),
                perform,
                encode=result_to_json,
                decode=result_from_json,
                effect=tool.effect,
                arguments=call.arguments,
            )
        except ToolError as error:
            # `perform` turns every failure into a result: this one is an operator's word about a call in doubt.
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


def _outcome(asked: Asked, known: Recorded) -> Any:
    if known.ok:
        return known.result
    error = error_from_json(known.error or {})
    if isinstance(error, StepError):
        error.key = asked.key
    raise error


def _delay(error: Exception, policy: RetryPolicy, failures: int) -> float | None:
    """Seconds until the next try, or None when the failure is final."""
    kind = getattr(error, "error_type", "error")
    if kind not in policy.when:
        return None
    if isinstance(error, ModelError) and error.error_type == "rate_limited" and error.retry_after_s is not None:
        return error.retry_after_s if failures <= MAX_POSTPONEMENTS else None
    return backoff_s(policy, failures) if failures < policy.attempts else None


def _refusal(call: ToolCall, words: str) -> ToolResult:
    return ToolResult(call.id, call.name, words, None, True)


def _in_words(error: Exception) -> str:
    if isinstance(error, InvalidInput) and error.faults:
        return f"{error.message} {'; '.join(error.faults)}"
    return str(error) or type(error).__name__


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(to_jsonable_python(value), ensure_ascii=False, separators=(",", ":"))


def _plain_json(value: Any) -> Any:
    return to_jsonable_python(value)


def _same(value: Any) -> Any:
    return value


def _shown(args: Sequence[Any], log: StepLog) -> Any:
    return to_jsonable_python(args, fallback=repr) if log.durable else None
