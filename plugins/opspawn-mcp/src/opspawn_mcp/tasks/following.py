"""Following a task to its end, over lost connections and restarts of ours and of the server."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from mcp import MCPError
from mcp.types import INTERNAL_ERROR, CallToolResult, ElicitRequest, ErrorData, Result
from pydantic import ValidationError

from opspawn.contracts.tool import CallNotes, Effect
from opspawn_mcp.asking import Ask, Asker
from opspawn_mcp.faults import ServerFault, in_words, is_late, is_lost, short, unwrapped
from opspawn_mcp.server import Link, Server
from opspawn_mcp.signing.needed import SignInNeeded
from opspawn_mcp.tasks.begun import OVER, Begun
from opspawn_mcp.tasks.wire import AnswerParams, AnswerTask, CancelTask, GetTask, TaskParams, TaskState

#: How often a task is asked for: at first, at most, and where its server says nothing, in seconds.
_FIRST_S, _LONGEST_S, _USUAL_S = 0.05, 60.0, 1.0
#: The pause while a server is away, in seconds: at first, and at most.
_AWAY_S, _LONG_AWAY_S = 0.2, 30.0
#: How long a server may take to hear that a task is to end, in seconds.
_CANCEL_S = 3.0
_REMEDY = "Find out what it did before you call it again."


class Following:
    """One task, of one tool."""

    def __init__(self, server: Server, tool: str, effect: Effect, task: Begun, asker: Asker | None) -> None:
        """Take where the task is and what it is of; `asker` puts what it needs to know, if people may be asked."""
        self._server = server
        self._tool = tool
        self._effect = effect
        self._task = task
        self._asker = asker
        self._answered: set[str] = set()

    async def result(self, notes: CallNotes | None, ask: Ask | None) -> CallToolResult:
        """Its result. Cut off for good, the task is ended at the server, too; else whoever calls again follows it.

        Raises: ServerFault: it failed, was cancelled or forgotten, or takes too long. SignInNeeded.
        """
        try:
            return await self._result(notes, ask)
        except asyncio.CancelledError:
            if notes is None or notes.cancelled:
                await self._cancel()
            raise

    async def _result(self, notes: CallNotes | None, ask: Ask | None) -> CallToolResult:
        pause, away = _FIRST_S, _AWAY_S
        while True:
            state = await self._look(notes)
            if state is None:
                await asyncio.sleep(away)
                away = min(away * 2, _LONG_AWAY_S)
                continue
            away = _AWAY_S
            if state.status == "completed":
                return await self._completed(state, notes)
            if state.status in ("failed", "cancelled"):
                await _over(notes)
                raise self._fault(_why(state))
            if state.status == "input_required" and await self._answer(state, ask):
                pause = _FIRST_S
            await asyncio.sleep(pause)
            told = state.poll_interval_ms / 1000 if state.poll_interval_ms is not None else self._task.poll_s
            pause = min(pause * 2, max(_FIRST_S, min(told or _USUAL_S, _LONGEST_S)))

    async def _look(self, notes: CallNotes | None) -> TaskState | None:
        """How the task is; None while the server cannot be asked. Raises: ServerFault: nobody will ever know."""
        limit, spent = self._server.config.task_timeout_s, time.time() - self._task.since
        if spent > limit:
            await self._cancel()
            raise self._fault(f"its task did not end within {limit:g} s (task_timeout_s)", "timeout")
        try:
            link = await self._server.ready()
            try:
                asked = GetTask(params=TaskParams(task_id=self._task.id))
                state: TaskState = await self._send(link, asked, TaskState)
                return state
            except Exception as error:
                if (why := await self._lost(link, error, notes)) is None:
                    return None
                raise why from error
        except SignInNeeded:
            raise
        except ServerFault as fault:
            if fault.error_type != "transient" or fault.sent:
                raise
            ttl = self._task.ttl_s
            if ttl is not None and spent > ttl:
                await _over(notes)
                raise self._fault(f"its task has expired after {ttl:g} s, and {fault.cause}") from fault
            return None

    async def _lost(self, link: Link, error: Exception, notes: CallNotes | None) -> ServerFault | None:
        """What an error means for the task; None if it may be asked for again."""
        if is_late(error) or isinstance(error, TimeoutError):
            return None
        if is_lost(error):
            self._server.lost(link, link.fate.reason or in_words(error, link.fate.status))
            return None
        cause = unwrapped(error)
        if isinstance(cause, MCPError) and cause.code == INTERNAL_ERROR:
            return None  # so the SDK tells HTTP errors of servers that are just starting
        if not isinstance(cause, MCPError):
            return self._fault(in_words(error))
        await _over(notes)
        ttl = "" if self._task.ttl_s is None else f"; it keeps tasks for {self._task.ttl_s:g} s"
        words = f"it does not know its task {self._task.id!r} any more ({short(cause.message)}){ttl}"
        return self._fault(words, "tool_error" if self._effect == "once" else "transient")

    async def _completed(self, state: TaskState, notes: CallNotes | None) -> CallToolResult:
        try:
            return CallToolResult.model_validate(state.result or {}, by_name=False)
        except ValidationError as error:
            await _over(notes)
            raise self._fault(in_words(error)) from error

    async def _answer(self, state: TaskState, ask: Ask | None) -> bool:
        """Put what the task needs to know, and tell it the answers. Raises: ServerFault: nobody can be asked."""
        wanted = {key: one for key, one in (state.input_requests or {}).items() if key not in self._answered}
        if not wanted:
            return False
        answers: dict[str, Any] = {}
        for key, request in wanted.items():
            answers[key] = await self._answer_to(request, ask)
        link = await self._server.ready()
        params = AnswerParams(task_id=self._task.id, input_responses=answers)
        try:
            await self._send(link, AnswerTask(params=params), Result)
        except Exception as error:
            if is_lost(error) or is_late(error):
                return False  # asked for again, it is answered again
            raise self._fault(in_words(error)) from error
        self._answered.update(wanted)
        return True

    async def _answer_to(self, request: Any, ask: Ask | None) -> Any:
        method = request.get("method") if isinstance(request, dict) else None
        if method != "elicitation/create" or self._asker is None or not self._asker.people:
            await self._cancel()
            raise self._fault("its task needs to know something, and people may not be asked (ask_people)")
        try:
            params = ElicitRequest.model_validate(request, by_name=False).params
        except ValidationError as error:
            raise self._fault(in_words(error)) from error
        with self._asker.during(ask):
            said = await self._asker.answer(None, params)
        if isinstance(said, ErrorData):
            await self._cancel()
            raise self._fault(said.message)
        return said.model_dump(by_alias=True, mode="json", exclude_none=True)

    async def _cancel(self) -> None:
        """Tell the server that the task is to end; it is told even if we are cut off meanwhile, and not waited for."""
        link = self._server.link
        if link is None:
            return
        params = TaskParams(task_id=self._task.id)
        telling = asyncio.ensure_future(self._send(link, CancelTask(params=params), Result, _CANCEL_S))
        telling.add_done_callback(_heard)
        self._server.keep(telling)
        await asyncio.wait({telling}, timeout=_CANCEL_S)

    async def _send(self, link: Link, request: Any, answer: type[Any], limit: float | None = None) -> Any:
        limit = limit or self._server.config.timeout_s
        return await link.client.session.send_request(request, answer, request_read_timeout_seconds=limit)

    def _fault(self, words: str, error_type: str = "tool_error") -> ServerFault:
        remedy = _REMEDY if self._effect == "once" else None
        return ServerFault(self._server.name, words, error_type=error_type, sent=True, remedy=remedy, tool=self._tool)


async def _over(notes: CallNotes | None) -> None:
    if notes is not None:
        await notes.write(OVER)


def _why(state: TaskState) -> str:
    if state.status == "cancelled":
        return f"its task was cancelled there{f': {state.status_message}' if state.status_message else ''}"
    said = (state.error or {}).get("message") or state.status_message
    return f"its task failed: {said}" if said else "its task failed, and it says no more"


def _heard(telling: asyncio.Future[Any]) -> None:
    if not telling.cancelled():
        telling.exception()
