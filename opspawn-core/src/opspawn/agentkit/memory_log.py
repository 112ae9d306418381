"""What a run in memory writes to: nothing but listeners. Durable runs have a task's journal (in `opspawn.ops`)."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import uuid4

from opspawn.agentkit.approvals import answer_of, misfit
from opspawn.agentkit.budget import amount_of
from opspawn.agentkit.children import ChildAsked, Children
from opspawn.agentkit.deciding import Policies
from opspawn.agentkit.failures import error_to_json, normalised
from opspawn.agentkit.ledger import Ledger
from opspawn.agentkit.log import Grant, OnEntry, Pending
from opspawn.agentkit.plain import plain_json
from opspawn.agentkit.questions import check_answer
from opspawn.agentkit.rates import Rates
from opspawn.agentkit.recorded import NO_TRIES, Asked, Recorded, Tries
from opspawn.contracts.budget import Budget
from opspawn.contracts.clock import SYSTEM_CLOCK, Clock
from opspawn.contracts.events import WARNINGS, Level, NewEvent
from opspawn.contracts.model import ModelDelta, Usage
from opspawn.contracts.policy import OnApproval
from opspawn.contracts.question import NO_DEFAULT, OnQuestion, OnWait, Question
from opspawn.contracts.store import Take
from opspawn.errors import ConfigError, Halt, InvalidInput, Limited, StepTimeout


class MemoryLog:
    """Records nothing; tells `on_event` what happens. A run on it cannot be resumed.

    `on_question` answers what the run asks, `on_wait` gives the data of the signals that it waits for. `rates` are
    counted in this process. `on_approval` decides where a policy asks; without it, the answer is no.
    """

    durable = False

    def __init__(
        self,
        on_event: OnEntry | None = None,
        clock: Clock = SYSTEM_CLOCK,
        *,
        on_question: OnQuestion | None = None,
        on_wait: OnWait | None = None,
        rates: Rates | None = None,
        policies: Policies | None = None,
        on_approval: OnApproval | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.budget = budget
        self.ledger = Ledger()
        self.began = clock.time()
        self.rates = rates or Rates()
        self.policies = policies or Policies()
        self._on_approval = on_approval
        self._standing: dict[str, Grant] = {}
        self._noted: dict[str, list[Any]] = {}
        self._on_question = on_question
        self._on_wait = on_wait
        self._on_event = on_event
        self.clock = clock
        #: Runs a child in memory under an id, and enters what it used; None where there are no children.
        self.nest: Callable[[ChildAsked, str], Awaitable[Any]] | None = None
        self.identity = uuid4().hex
        #: What the model calls have used that tools made.
        self.asides = Usage()

    def recall(self, asked: Asked) -> Recorded | None:
        return None

    async def resolve(self, asked: Asked, outcome: str, result: Any) -> Recorded | None:
        return None

    def halted(self, halt: Halt) -> None:
        return None

    def tries(self, key: str) -> Tries:
        return NO_TRIES

    def check(self) -> None:
        return None

    def held(self) -> None:
        return None

    async def begin(self, asked: Asked, arguments: Any) -> None:
        self._tell("step.started", asked, arguments=arguments)

    async def done(self, asked: Asked, result: Any, duration_s: float) -> None:
        if self._on_event is not None:
            self._tell("step.done", asked, result=result, duration_s=duration_s)

    async def failed(self, asked: Asked, error: dict[str, Any], duration_s: float) -> None:
        self._tell("step.failed", asked, error=error, duration_s=duration_s)

    async def retry(self, asked: Asked, tries: int, error: dict[str, Any], delay_s: float) -> float:
        until = self.clock.time() + delay_s
        self._tell("step.retry", asked, error=error, until=until, **{"try": tries})
        return until

    async def timer(self, asked: Asked, seconds: float) -> float:
        return self.clock.time() + seconds

    async def spawn(self, wanted: Sequence[ChildAsked]) -> Children:
        if self.nest is None:
            raise ConfigError(
                f"{wanted[0].handler!r} needs child tasks, and this run is in memory.",
                remedy="Run it with 'opspawn run' or 'opspawn serve'.",
            )
        children = Children(len(wanted))
        runs = [asyncio.create_task(self._nested(children, index, one)) for index, one in enumerate(wanted)]
        try:
            await asyncio.gather(*runs)
        finally:
            for run in runs:
                run.cancel()
            await asyncio.gather(*runs, return_exceptions=True)
        return children

    async def _nested(self, children: Children, index: int, one: ChildAsked) -> None:
        assert self.nest is not None
        child, result, loan = uuid4().hex, None, one.options.budget
        self._tell("child.spawned", one.asked, child=child)
        if loan is not None:
            self.ledger.lent(one.asked.key, child, amount_of(loan))
        try:
            async with asyncio.timeout(one.options.timeout_s) as timer:
                result = plain_json(await self.nest(one, child))
            end = Recorded("", one.asked.name, True, result)
        except (Halt, ConfigError):
            raise
        except Exception as error:
            if isinstance(error, TimeoutError) and timer.expired():
                error = StepTimeout(f"{one.handler!r} ran longer than {one.options.timeout_s:g} s.")
            told = error_to_json(normalised(error))
            if told["class"] == "BudgetExceeded":  # it is not the budget of whoever asked that is used up
                told["class"] = "StepFailed"
            end = Recorded("", one.asked.name, False, error=told)
        self._tell("child.ended", one.asked, child=child, **({"result": result} if end.ok else {"error": end.error}))
        children.ended(index, end)

    async def wait(self, asked: Asked, signal: str, timeout_s: float | None) -> Recorded | Pending:
        if self._on_wait is None:
            raise ConfigError(
                f"The run waits for the signal {signal!r}, and nobody gives it signals.",
                remedy="Give on_wait= to agent.run(), or run it with 'opspawn serve'.",
            )
        try:
            async with asyncio.timeout(timeout_s) as timer:
                data = plain_json(await _given(self._on_wait(signal)))
        except TimeoutError:
            if not timer.expired():
                raise
            error = error_to_json(StepTimeout(f"The signal {signal!r} did not come in time."))
            return Recorded("", asked.name, False, error=error)
        return Recorded("", asked.name, True, data)

    async def ask(self, asked: Asked, question: Question, timeout_s: float | None, default: Any) -> Recorded | Pending:
        detail = {"about": question.kind, "schema": question.schema, "call": question.call}
        self._tell(
            "question.asked", asked, text=question.text, choices=list(question.choices), to=question.to, **detail
        )
        if question.kind == "approval":
            return await self._approve(asked, question, timeout_s, default)
        if self._on_question is None:
            raise ConfigError(
                f"The run asks {question.text!r}, and nobody answers its questions.",
                remedy="Give on_question= to agent.run(), or run it with 'opspawn serve'.",
            )
        try:
            async with asyncio.timeout(timeout_s) as timer:
                value = check_answer(question, await _given(self._on_question(question)))
        except TimeoutError:
            if not timer.expired():
                raise
            if default is NO_DEFAULT:
                error = error_to_json(StepTimeout("Nobody answered the question in time."))
                self._tell("question.expired", asked, error=error)
                return Recorded("", asked.name, False, error=error)
            self._tell("question.expired", asked, default=default)
            return Recorded("", asked.name, True, {"value": default, "expired": True})
        self._tell("question.answered", asked, value=value)
        return Recorded("", asked.name, True, {"value": value})

    async def _approve(self, asked: Asked, question: Question, timeout_s: float | None, default: Any) -> Recorded:
        if self._on_approval is None:
            words = {"decision": "deny", "reason": "A human would have to approve it, and there is nobody to ask."}
            self._tell("question.expired", asked, default=words)
            return Recorded("", asked.name, True, {"value": words, "expired": True})
        try:
            async with asyncio.timeout(timeout_s) as timer:
                said = await _given(self._on_approval(question))
        except TimeoutError:
            if not timer.expired():
                raise
            self._tell("question.expired", asked, default=default)
            return Recorded("", asked.name, True, {"value": default, "expired": True})
        value, by = _decision(question, said), getattr(said, "by", None)
        self._tell("question.answered", asked, value=value, by=by)
        if value.get("always") and question.call is not None and "scope" in question.call:
            self._standing[question.call["scope"]] = Grant(None, question.digest or "", by, standing=True)
        return Recorded("", asked.name, True, {"value": value, "by": by})

    def standing(self, scope: str, key: str) -> Grant | None:
        return self._standing.get(scope)

    async def redeem(self, asked: Asked, grant: Grant, *, with_intent: bool) -> None:
        changed = {} if grant.arguments is None else {"arguments": grant.arguments}
        self._tell("approval.used", asked, by=grant.by, standing=grant.standing, **changed)

    def notes(self, key: str) -> Notes:
        return Notes(key, self._noted)

    async def note(self, event: NewEvent) -> None:
        if self._on_event is not None:
            self._on_event(event)

    async def denied(self, asked: Asked, error: dict[str, Any], detail: dict[str, Any]) -> None:
        self._tell("policy.denied", asked, **detail)
        self._tell("step.failed", asked, error=error, duration_s=0.0)

    def spawned(self, key: str) -> bool:
        return False

    async def progress(self, data: dict[str, Any]) -> None:
        if self._on_event is not None:
            self._on_event(NewEvent("task.progress", data))

    def report(self, data: dict[str, Any]) -> None:
        if self._on_event is not None:
            self._on_event(NewEvent("task.progress", data))

    def aside(self, key: str, usage: Usage) -> None:
        self.asides += usage

    async def emit(self, asked: Asked, data: dict[str, Any]) -> None:
        if self._on_event is not None:
            level: Level = "warning" if asked.name in WARNINGS else "info"
            self._on_event(NewEvent(asked.name, {"key": asked.key, **data}, level))

    async def take(self, takes: Sequence[Take], asked: Asked | None = None) -> None:
        if (wait := self.rates.local.take(takes)) is not None:
            raise Limited(*wait)
        if asked is not None:
            await self.done(asked, None, 0.0)

    def owe(self, takes: Sequence[Take]) -> None:
        self.rates.local.take(takes)

    def answered(self, data: dict[str, Any]) -> None:
        if self._on_event is not None:
            self._on_event(NewEvent("agent.answered", data, level="warning" if data["error"] else "info"))

    def delta(self, delta: ModelDelta) -> None:
        if self._on_event is not None:
            self._on_event(delta)

    def alive(self, delta: ModelDelta) -> None:
        return None

    def _tell(self, type: str, asked: Asked, **data: Any) -> None:
        if self._on_event is None:
            return
        level = "warning" if "error" in data else "info"
        error_type = data["error"]["type"] if "error" in data else None
        body = {"key": asked.key, "kind": asked.kind, "name": asked.name, **data}
        if type == "policy.denied":
            level, error_type = "warning", "denied"
        self._on_event(NewEvent(type, body, level=level, error_type=error_type))  # type: ignore[arg-type]


class Notes:
    """What is put down within one call, for as long as the run lives. See `opspawn.contracts.tool.CallNotes`."""

    __slots__ = ("_kept", "_key")

    def __init__(self, key: str, kept: dict[str, list[Any]]) -> None:
        self._key = key
        self._kept = kept

    @property
    def cancelled(self) -> bool:
        """Whoever cuts off a run in memory ends it."""
        return True

    def read(self) -> Sequence[Any]:
        return tuple(self._kept.get(self._key, ()))

    async def write(self, note: Any) -> None:
        self._kept.setdefault(self._key, []).append(plain_json(note))


def _decision(question: Question, said: Any) -> Any:
    """What an `on_approval` said. Raises: ConfigError: it gives arguments that the tool does not take."""
    value = answer_of(said)
    try:
        return check_answer(question, value) if "arguments" in value else value
    except InvalidInput as error:
        raise misfit(str((question.call or {}).get("name")), error) from error


async def _given(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
