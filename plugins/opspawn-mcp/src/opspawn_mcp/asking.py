"""What a server asks in the middle of a call is asked by the run that made the call: people (elicitation), and models.

A question is durable: it is kept, anybody may answer it, and a call that is made again after a crash finds its
answer. In the modern era the SDK asks within the call itself; in the older one a server asks on its connection, so that
only the single call in flight can be meant: calls to a server that may ask are made one after another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from mcp.types import (
    INVALID_REQUEST,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestFormParams,
    ElicitResult,
    ErrorData,
)

from opspawn.agentkit.questions import make_question
from opspawn.contracts.question import Answer, Question
from opspawn.errors import OpspawnError
from opspawn_mcp.sampling import Sampler, Think, nobody

Ask = Callable[[Question], Awaitable[Answer]]
T = TypeVar("T")
#: What a question may say of a value.
_SAID = (
    *("type", "title", "description", "enum", "default", "minimum", "maximum"),
    *("minLength", "maxLength", "format", "minItems", "maxItems"),
)
_DECLINE = "decline"
_MOST_ROUNDS = 5


class _Call:
    def __init__(self, ask: Ask, think: Think | None) -> None:
        self.ask = ask
        self.think = think
        self.over = asyncio.Event()
        self.deadline: asyncio.Timeout | None = None
        self._waiting = 0
        self._left = 0.0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The time of the call stands still within: people take theirs."""
        loop, deadline = asyncio.get_running_loop(), self.deadline
        when = deadline.when() if deadline is not None else None
        if deadline is not None and when is not None and self._waiting == 0:
            self._left = when - loop.time()
            deadline.reschedule(None)
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if deadline is not None and self._left and self._waiting == 0 and not self.over.is_set():
                deadline.reschedule(loop.time() + self._left)


_current: ContextVar[_Call | None] = ContextVar("opspawn_mcp_call", default=None)


class Asker:
    """The questions of one server, and what it wants models asked."""

    def __init__(self, server: str, *, people: bool = True, sampler: Sampler | None = None) -> None:
        """Take its name, whether it may ask people, and what has models asked, if it may do that."""
        self.people = people
        self.sampler = sampler
        self._server = server
        self._calls: list[_Call] = []

    @contextmanager
    def during(self, ask: Ask | None, think: Think | None = None) -> Iterator[None]:
        """A call is in flight within, on behalf of a run that asks people by `ask`, and models by `think`; None where
        nobody can be asked.
        """
        if ask is None:
            yield
            return
        call = _Call(ask, think)
        token = _current.set(call)
        self._calls.append(call)
        try:
            yield
        finally:
            self._calls.remove(call)
            call.over.set()
            _current.reset(token)

    def limit(self, deadline: asyncio.Timeout) -> None:
        """The deadline of the call that is made now, which stands still while people are asked."""
        if (call := _current.get()) is not None:
            call.deadline = deadline

    async def answer(self, context: Any, params: Any) -> ElicitResult | ErrorData:
        """What a server is told that asks: the SDK's callback."""
        call = self._call()
        if call is None:
            return ErrorData(code=INVALID_REQUEST, message="Nobody can be asked: no run that could ask is calling.")
        if not isinstance(params, ElicitRequestFormParams):
            return ElicitResult(action="decline")  # what happens behind a URL, nobody could tell the server
        try:
            said = await _until_over(call, self._ask(call, params))
        except OpspawnError as error:
            return ErrorData(code=INVALID_REQUEST, message=f"Nobody can be asked: {error.message}")
        return ElicitResult(action="cancel") if said is None else said

    async def sample(self, context: Any, params: CreateMessageRequestParams) -> CreateMessageResult | ErrorData:
        """What a server is told that wants a model asked: the SDK's callback."""
        call = self._call()
        if call is None or call.think is None or self.sampler is None:
            return nobody("no run that could ask one is calling.")
        return await _until_over(call, self.sampler.answer(call.think, params)) or nobody("the call is over.")

    def _call(self) -> _Call | None:
        """The call that is meant: that of this task, or the only one in flight."""
        return _current.get() or (self._calls[0] if len(self._calls) == 1 else None)

    async def _ask(self, call: _Call, params: ElicitRequestFormParams) -> ElicitResult:
        wanted = params.requested_schema
        text = f"The MCP server {self._server!r} asks: {params.message}"[:8000]
        if not wanted.get("properties"):
            said = (await call.ask(make_question(text, ["accept", _DECLINE]))).value
            return ElicitResult(action="accept", content={}) if said == "accept" else ElicitResult(action="decline")
        question, faults = schema_of(wanted), ""
        for _ in range(_MOST_ROUNDS):
            said = (await call.ask(make_question(f"{text}{faults}", None, question))).value
            content = {name: value for name, value in dict(said).items() if name in wanted["properties"]}
            if said.get(_DECLINE) is True and _DECLINE not in wanted["properties"]:
                return ElicitResult(action="decline")
            missing = [name for name in wanted.get("required") or () if name not in content]
            if not missing:
                return ElicitResult(action="accept", content=content)
            faults = f" ({', '.join(missing)} must be given, or decline set to true.)"
        return ElicitResult(action="cancel")


async def _until_over(call: _Call, asking: Coroutine[Any, Any, T]) -> T | None:
    """What is answered, while the time of the call stands still; None once the call is over."""
    answering = asyncio.ensure_future(asking)
    over = asyncio.ensure_future(call.over.wait())
    try:
        with call.paused():
            await asyncio.wait({answering, over}, return_when=asyncio.FIRST_COMPLETED)
        return answering.result() if answering.done() else None
    finally:
        answering.cancel()
        over.cancel()


def schema_of(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a question for a form: its fields, as far as we can check them, and the refusal to fill it in."""
    fields = {name: _field(spec) for name, spec in wanted["properties"].items()}
    refusal = {"type": "boolean", "description": "True to tell the server nothing."}
    return {"type": "object", "properties": {_DECLINE: refusal, **fields}, "additionalProperties": False}


def _field(spec: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: spec[name] for name in _SAID if spec.get(name) is not None}
    titled = spec.get("oneOf") or spec.get("anyOf")
    if isinstance(titled, list) and all(isinstance(one, Mapping) and "const" in one for one in titled):
        kept["enum"] = [one["const"] for one in titled]
    if isinstance(spec.get("items"), Mapping):
        kept["items"] = _field(spec["items"])
    return kept
