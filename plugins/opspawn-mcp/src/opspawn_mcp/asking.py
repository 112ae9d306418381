"""Elicitation: what a server asks in the middle of a call becomes a question of the run that made the call.

The question is durable: it is kept, anybody may answer it, and a call that is made again after a crash finds its
answer. In the modern era the SDK asks within the call itself; in the older one a server asks on its connection, so that
only the single call in flight can be meant: calls to a server that may ask are made one after another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from mcp.types import INVALID_REQUEST, ElicitRequestFormParams, ElicitResult, ErrorData

from opspawn.agentkit.questions import make_question
from opspawn.contracts.question import Answer, Question
from opspawn.errors import OpspawnError

Ask = Callable[[Question], Awaitable[Answer]]
#: What a question may say of a value.
_SAID = (
    *("type", "title", "description", "enum", "default", "minimum", "maximum"),
    *("minLength", "maxLength", "format", "minItems", "maxItems"),
)
_DECLINE = "decline"
_MOST_ROUNDS = 5


class _Call:
    def __init__(self, ask: Ask) -> None:
        self.ask = ask
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
    """The questions of one server."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._calls: list[_Call] = []

    @contextmanager
    def during(self, ask: Ask | None) -> Iterator[None]:
        """A call is in flight within, on behalf of a run that asks by `ask`; None where nobody can be asked."""
        if ask is None:
            yield
            return
        call = _Call(ask)
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
        call = _current.get() or (self._calls[0] if len(self._calls) == 1 else None)
        if call is None:
            return ErrorData(code=INVALID_REQUEST, message="Nobody can be asked: no run that could ask is calling.")
        if not isinstance(params, ElicitRequestFormParams):
            return ElicitResult(action="decline")  # what happens behind a URL, nobody could tell the server
        asking = asyncio.ensure_future(self._ask(call, params))
        over = asyncio.ensure_future(call.over.wait())
        try:
            with call.paused():
                await asyncio.wait({asking, over}, return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() else ElicitResult(action="cancel")
        except OpspawnError as error:
            return ErrorData(code=INVALID_REQUEST, message=f"Nobody can be asked: {error.message}")
        finally:
            asking.cancel()
            over.cancel()

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
