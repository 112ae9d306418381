"""One call that is being answered: its task is followed until it ends, needs a human, or takes too long to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from mcp import MCPError
from mcp.types import CallToolResult, ElicitRequest, ElicitResult, InputRequiredResult
from pydantic import ValidationError

from opspawn.contracts import run_events as told
from opspawn.contracts.question import AskedQuestion
from opspawn.contracts.run_events import RunEvent
from opspawn.contracts.store import Query, Task
from opspawn.contracts.transport import Host
from opspawn.errors import InvalidInput, InvalidTransition
from opspawn_mcp.serving.forms import fill_in, form_of
from opspawn_mcp.serving.results import result_of, waits

#: How often a client is told that the call goes on, in seconds, so that it does not give up.
_BEAT_S = 10.0
#: Puts a form to the client's human while the call is open.
Elicit = Callable[[ElicitRequest], Awaitable[ElicitResult]]
Report = Callable[[float, str], Awaitable[None]]


class Following:
    """Follows a task for one request."""

    def __init__(
        self, host: Host, task: Task, by: str, *, report: Report, within_s: float, stopping: asyncio.Event
    ) -> None:
        """Take the task; `by` is who answers its questions, for the record; `report` tells the client of progress.

        Once `stopping` is set, the answer is given as things stand.
        """
        self._host = host
        self._task = task
        self._by = by
        self._report = report
        self._within_s = within_s
        self._stopping = stopping
        self._steps = 0
        self._news = asyncio.Event()

    async def answer(self, *, elicit: Elicit | None, hand_out: bool) -> CallToolResult | InputRequiredResult:
        """What the client gets, after `within_s` seconds at the latest; the time that humans take does not count.

        Args:
            elicit: asks the client's human; None where it cannot be asked within the call.
            hand_out: whether open questions may be the answer, with which the client calls again when it has theirs.
        """
        following = asyncio.create_task(self._follow())
        loop = asyncio.get_running_loop()
        end = loop.time() + self._within_s
        try:
            while not (following.done() or self._stopping.is_set()) and (left := end - loop.time()) > 0:
                await self._something(following, min(left, _BEAT_S))
                if following.done() or not (open_ := await self._open()):
                    continue
                if hand_out:
                    return self._handed_out(open_)
                if elicit is None:
                    return waits(self._task, open_)
                began = loop.time()
                if not await self._ask(elicit, open_[0], following):
                    return waits(self._task, await self._open() or open_)
                end += loop.time() - began
            if following.done() and following.exception() is not None:
                following.result()
            return result_of(await self._host.task(self._task.id))
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def _follow(self) -> None:
        """Tell the client what happens until the task has settled."""
        async for event in self._host.stream(self._task.id):
            if isinstance(event, (told.ApprovalAsked, told.QuestionAsked)):
                self._news.set()
            elif isinstance(event, told.RunHalted) and event.run == self._task.id:
                return
            elif words := words_of(event):
                await self._tell(words)

    async def _something(self, following: asyncio.Task[None], most_s: float) -> None:
        """Wait until a question may have come, or the task has settled; tell the client that it goes on."""
        done = await _first({following}, self._news, self._stopping, most_s=most_s)
        if not done:
            await self._tell("goes on")
        self._news.clear()

    async def _ask(self, elicit: Elicit, asked: AskedQuestion, following: asyncio.Task[None]) -> bool:
        """Have the client's human answer; True too if somebody else has, or the task has ended meanwhile. False if he
        did not, or the server stops.
        """
        asking = asyncio.ensure_future(elicit(form_of(asked)))
        try:
            while not asking.done() and not following.done():
                await _first({asking, following}, self._stopping, most_s=_BEAT_S)
                if self._stopping.is_set() and not asking.done():
                    return False
                if not asking.done():
                    if (await self._host.question(asked.id)).state != "open":
                        return True
                    await self._tell("waits for an answer")
            if not asking.done():
                return True
            try:
                return await fill_in(self._host, asked, asking.result(), self._by)
            except (MCPError, ValidationError, InvalidInput):
                return False
            except InvalidTransition:
                return True
        finally:
            asking.cancel()

    async def _open(self) -> list[AskedQuestion]:
        page = await self._host.questions(Query(where={"root": self._task.root, "state": "open"}, limit=50))
        return list(reversed(page.items))

    def _handed_out(self, open_: list[AskedQuestion]) -> InputRequiredResult:
        return InputRequiredResult(
            input_requests={asked.id: form_of(asked) for asked in open_}, request_state=self._task.id
        )

    async def _tell(self, words: str) -> None:
        self._steps += 1
        with suppress(MCPError):
            await self._report(float(self._steps), words)


async def _first(tasks: set[asyncio.Future[Any]], *events: asyncio.Event, most_s: float) -> bool:
    """Wait until one of the tasks is done or one of the events has come; False if none has after `most_s` seconds."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait({*tasks, *waiting}, timeout=most_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
    return bool(done)


async def take_answers(host: Host, task: Task, responses: object, by: str) -> bool:
    """Answer the questions of a task by the forms that a client sends with its call; False if one was not filled in.

    Raises: InvalidInput: an answer does not fit.
    """
    for id, said in dict(responses or {}).items() if isinstance(responses, dict) else ():
        asked = await host.question(id)
        if asked.root != task.root or not isinstance(said, ElicitResult):
            raise InvalidInput(f"{id} is no question of this call.")
        try:
            if not await fill_in(host, asked, said, by):
                return False
        except InvalidTransition:
            continue  # answered elsewhere meanwhile
    return True


def words_of(event: RunEvent) -> str:
    """What an event means for somebody who waits; nothing for most."""
    match event:
        case told.ToolCallStarted():
            return f"{event.agent or 'it'} calls {event.tool}"
        case told.StepEnded():
            return f"{event.name} is done" if event.error is None else f"{event.name} failed"
        case told.SubAgentStarted():
            return f"{event.handler} is at work"
        case told.Progress():
            far = "" if event.done is None else f"{event.done:g}" + (f"/{event.total:g}" if event.total else "")
            return " ".join(part for part in (event.tool or "", event.note or "", far) if part)
        case told.Retrying():
            return f"tries again: {event.error.message}"
    return ""
