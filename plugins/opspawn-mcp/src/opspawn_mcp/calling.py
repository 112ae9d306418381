"""One call to a server: its place in line, its deadline, and every way in which it can fail, in words."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any, TypeVar

from mcp import Client, MCPError
from mcp.shared.dispatcher import ProgressFnT
from mcp.types import CallToolResult

from opspawn.contracts.tool import CallNotes, Effect
from opspawn.errors import Halt, ToolError
from opspawn_mcp.asking import Ask, Asker
from opspawn_mcp.faults import ServerFault, in_words, is_late, is_lost, unwrapped
from opspawn_mcp.sampling import Think
from opspawn_mcp.server import Link, Server
from opspawn_mcp.signing.code import CodeSigner
from opspawn_mcp.tasks.begun import TaskBegun, begun_in
from opspawn_mcp.tasks.following import Following

_MINUTE_S = 60.0
#: For the SDK, since a call ends by our clock, which covers all its rounds, and stands still while people are asked.
NEVER = math.inf
#: How long after the end of a connection its cause may become known, in seconds.
_WHY_S = 1.5
T = TypeVar("T")
#: Sends something, without a limit of its own.
Send = Callable[[Client], Awaitable[T]]
_UNKNOWN = "Whether the call was carried out is not known: find out before you call it again."


class Calls:
    """The calls to one server, within its limits."""

    def __init__(self, server: Server, asker: Asker | None = None, signer: CodeSigner | None = None) -> None:
        """Take the server, who puts its questions, if it may ask any, and what people sign in by, if they do."""
        self._server = server
        self._signer = signer
        self._asker = asker
        config = server.config
        most = config.concurrency if asker is None else 1
        self._places = None if most is None else asyncio.Semaphore(most)
        self._most = config.calls_per_minute
        self._times: deque[float] = deque()

    async def call(
        self,
        tool: str,
        arguments: dict[str, Any],
        *,
        effect: Effect,
        check: Callable[[Link], None] = lambda link: None,
        on_progress: ProgressFnT | None = None,
        ask: Ask | None = None,
        notes: CallNotes | None = None,
        think: Think | None = None,
    ) -> CallToolResult:
        """Call a tool and return the server's answer, whatever it says.

        Args:
            effect: for the words of a failure that leaves open what happened.
            check: called with the connection before anything is sent; what it raises is raised.
            on_progress: told how far the call is, if the server says so.
            ask: puts what the server asks to people, if it may. think: puts to a model what it wants one asked.
            notes: of this call, in which a task is kept that the server makes of it; one that is there is gone on with.

        Raises: ServerFault: "transient" if the connection failed, "timeout", or "tool_error" for everything else.
        """

        async def send(client: Client) -> CallToolResult:
            return await client.call_tool(tool, arguments, read_timeout_seconds=NEVER, progress_callback=on_progress)

        task = begun_in(notes)
        if task is None:
            try:
                return await self.request(tool, send, effect=effect, check=check, ask=ask, think=think)
            except TaskBegun as begun:
                task = begun.task
                if notes is not None:  # before it is asked for, so that nobody calls again who has lost it
                    await notes.write(task.to_note())
        return await Following(self._server, tool, effect, task, self._asker).result(notes, ask)

    async def request(
        self,
        what: str,
        send: Send[T],
        *,
        effect: Effect = "read",
        check: Callable[[Link], None] = lambda link: None,
        ask: Ask | None = None,
        think: Think | None = None,
    ) -> T:
        """Ask the server for anything, as `call` does; `what` names it in the words of a failure."""
        self._count()
        if self._places is None and self._asker is None:
            return await self._request(what, send, effect, check)
        async with self._places or nullcontext():
            with nullcontext() if self._asker is None else self._asker.during(ask, think):
                return await self._request(what, send, effect, check)

    async def _request(self, what: str, send: Send[T], effect: Effect, check: Callable[[Link], None]) -> T:
        link = self._server.link
        if link is None or link.lost.is_set():
            link = await self._server.ready()
        check(link)
        try:
            return await self._send(link, send)
        except (Halt, TaskBegun):
            raise
        except Exception as error:
            if is_over(error):
                self._server.lost(link, in_words(error))
                link = await self._server.ready()
                check(link)
                try:
                    return await self._send(link, send)
                except TaskBegun:
                    raise
                except Exception as again:
                    error = again
            if isinstance(error, ServerFault):
                raise
            raise await self._fault(link, what, effect, error) from error

    async def _send(self, link: Link, send: Send[T]) -> T:
        async with asyncio.timeout(self._server.config.timeout_s) as deadline:
            if self._asker is not None:
                self._asker.limit(deadline)
            return await send(link.client)

    async def _fault(self, link: Link, tool: str, effect: Effect, error: Exception) -> ServerFault:
        name, remedy = self._server.name, _UNKNOWN if effect == "once" else None
        if self._signer is not None and (unsigned := self._signer.fault) is not None:
            self._server.lost(link, unsigned.cause)
            return unsigned
        if isinstance(error, TimeoutError) or is_late(error):
            words = f"it did not answer within {self._server.config.timeout_s:g} s"
            return ServerFault(name, words, error_type="timeout", sent=True, remedy=remedy, tool=tool)
        if is_lost(error):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(link.fate.known.wait(), _WHY_S)
            words = link.fate.reason or in_words(error, link.fate.status)
            self._server.lost(link, words)
            return ServerFault(name, words, error_type="transient", sent=True, remedy=remedy, tool=tool)
        return ServerFault(name, in_words(error, link.fate.status), sent=True, tool=tool)

    def _count(self) -> None:
        """Raises: ToolError, with the time to come back."""
        if self._most is None:
            return
        now = time.monotonic()
        while self._times and now - self._times[0] >= _MINUTE_S:
            self._times.popleft()
        if len(self._times) >= self._most:
            wait = self._times[0] + _MINUTE_S - now
            words = f"MCP server {self._server.name}: {self._most} calls a minute are allowed (calls_per_minute)."
            raise ToolError(words, error_type="rate_limited", retry_after_s=wait)
        self._times.append(now)


def is_over(error: BaseException) -> bool:
    """Whether a session had ended before the call came: then it was not carried out, and may be sent once more."""
    error = unwrapped(error)
    return isinstance(error, MCPError) and "Session terminated" in error.message
