"""`Server`: one MCP server, owned by one task that connects, lists, reconnects and closes.

Everybody else only asks: `ready` gives a connection that works, or says at once why there is none. The SDK wants a
connection to be entered and left in one task, and a new client for each connection; a connection that will not end is
left to itself, so that no server can hold up the others.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from loguru import logger
from mcp import Client
from mcp.types import ResourceUpdatedNotification, ToolListChangedNotification

from opspawn_mcp.connecting import Callbacks, connection
from opspawn_mcp.ending import ended
from opspawn_mcp.faults import ServerFault, in_words, is_lost, unwrapped
from opspawn_mcp.hearing import Hearing
from opspawn_mcp.listening import watch_tools
from opspawn_mcp.listing import Definition, list_tools
from opspawn_mcp.settings import ServerConfig
from opspawn_mcp.signing.needed import SignInNeeded
from opspawn_mcp.stdio import Fate

State = Literal["off", "idle", "connecting", "ready", "failed", "closed"]
#: How long one may take to end, in seconds, before it is left to itself.
_TEARDOWN_S = 10.0
#: How long what is being told to a server may take when all ends, in seconds.
_LAST_WORDS_S = 2.0
#: The pause after failures in a row, in seconds: the first one is made up for at once.
_FIRST_S, _LONGEST_S = 0.5, 60.0
#: A connection that held so long starts the count of failures anew.
_STEADY_S = 30.0
#: How long after a change of its list a server is asked, so that ten changes are asked for once.
_DEBOUNCE_S = 0.2
#: Lines of stderr that are logged within ten seconds; the others are counted.
_MOST_LINES, _SPAN_S = 100, 10.0


@dataclass(slots=True)
class Link:
    """A connection that works, and the tools that the server listed when it was asked last."""

    client: Client
    tools: tuple[Definition, ...]
    lost: asyncio.Event
    fate: Fate


class Server:
    """One server. Belongs to one event loop; nothing is connected before somebody asks."""

    def __init__(
        self,
        name: str,
        config: ServerConfig,
        root: Path,
        *,
        callbacks: Callable[[str], Callbacks] = lambda name: Callbacks(),
        on_tools: Callable[[str], None] = lambda name: None,
    ) -> None:
        """Take its name and settings.

        Args:
            callbacks: gives what a client answers to this server; asked once per connection.
            on_tools: called with the name after each listing.
        """
        self.name = name
        self.config = config
        self.state: State = "idle" if config.enabled else "off"
        self.fault: ServerFault | None = None
        #: What it listed last, kept while it is away.
        self.tools: dict[str, Definition] = {}
        self.protocol: str | None = None
        #: What it says of itself, for a model. Somebody else's words: show them to nobody as your own.
        self.instructions = ""
        self.connects = 0
        self._root = root
        self._callbacks = callbacks
        self._on_tools = on_tools
        self._link: Link | None = None
        self._owner: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._changed = asyncio.Event()
        self._next: asyncio.Future[Link] | None = None
        self._not_before = 0.0
        self._log = logger.bind(plugin="mcp", server=name)
        self._lines, self._since = 0, 0.0
        self.hearing = Hearing()
        self._telling: set[asyncio.Future[Any]] = set()

    # -- what others ask -----------------------------------------------------------------------------------------------

    async def ready(self) -> Link:
        """A connection that works. Raises: ServerFault: there is none, and why; at once while it waits to try again."""
        link = self._link
        if link is not None and not link.lost.is_set():
            return link
        return await asyncio.shield(self.warm())

    def warm(self) -> asyncio.Future[Link]:
        """Begin to connect, without waiting; gives what is to come. Raises: ServerFault, as `ready`."""
        if self.state in ("off", "closed"):
            raise ServerFault(self.name, "it is switched off" if self.state == "off" else "it was closed")
        wait = self._not_before - time.monotonic()
        if self.fault is not None and wait > 0:
            raise self._again(self.fault, wait)
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        coming = self._next
        self._wanted.set()
        if self._owner is None:
            self._owner = asyncio.create_task(self._own(), name=f"mcp-{self.name}")
        return coming

    @property
    def link(self) -> Link | None:
        """The connection as it is, if there is one."""
        return self._link

    def keep(self, telling: asyncio.Future[Any]) -> None:
        """Hold on to something that is being told to the server; `aclose` waits for it a moment."""
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    def lost(self, link: Link, why: str) -> None:
        """Say that a connection is gone; the next call makes a new one."""
        link.fate.because(why)
        link.lost.set()

    async def aclose(self) -> None:
        """End the connection, and its process. Idempotent."""
        self.state = "closed"
        if self._telling:
            await asyncio.wait(self._telling, timeout=_LAST_WORDS_S)
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.cancel()
            await asyncio.gather(owner, return_exceptions=True)

    # -- the owner -----------------------------------------------------------------------------------------------------

    async def _own(self) -> None:
        failures = 0
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            began, connects = time.monotonic(), self.connects
            fault = await self._connect_once()
            held = self.connects > connects
            failures = 1 if held and time.monotonic() - began > _STEADY_S else failures + 1
            if isinstance(fault, SignInNeeded):  # nothing gets better by waiting
                failures = 0
            pause = 0.0 if failures <= 1 else min(_LONGEST_S, _FIRST_S * 2 ** (failures - 2)) * random.uniform(1, 1.25)
            self._not_before = time.monotonic() + pause
            self._log.bind(error_type=fault.error_type).warning("{}", fault.message)
            if not held or pause > _FIRST_S * 2:
                self._fail(fault)
            else:  # whoever came when it was just lost waits for the next connection
                self.fault, self.state = fault, "failed"
            await asyncio.sleep(pause)

    async def _connect_once(self) -> ServerFault:
        """One connection from its begin to its end; gives why it ended."""
        self.state = "connecting"
        fate, opened = Fate(), asyncio.get_running_loop().create_future()
        life = asyncio.create_task(self._live(fate, opened), name=f"mcp-{self.name}-connection")
        life.add_done_callback(_noticed)  # by us or nobody: its owner may be cancelled before it asks
        try:
            limit = self.config.connect_timeout_s
            known = asyncio.create_task(fate.known.wait())
            await asyncio.wait({life, opened, known}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            known.cancel()
            if opened.done() and not life.done():
                self._open(opened.result())
                await asyncio.wait({life})
            elif not life.done():
                fate.because(f"it did not answer within {limit:g} s (connect_timeout_s)")
                self._fail(self._fault_of(life, fate))  # whoever waits need not wait for its end, too
        finally:
            self._link = None
            await self._end(life)
        return self._fault_of(life, fate)

    async def _live(self, fate: Fate, opened: asyncio.Future[Link]) -> None:
        """Hold one connection, in this task alone, until it is lost."""
        lost = asyncio.Event()
        async with connection(
            self.config,
            self._root,
            fate,
            on_message=self._hear,
            on_line=self._hear_line,
            callbacks=self._callbacks(self.name),
        ) as client:
            tools = await list_tools(client, self.name, self.config.max_tools)
            link = Link(client, tools, lost, fate)
            self._changed.clear()
            opened.set_result(link)
            async with watch_tools(client, self._changed.set):
                while not lost.is_set():
                    await self._something_happens(lost, fate)
                    if self._changed.is_set() and not lost.is_set():
                        await asyncio.sleep(_DEBOUNCE_S)
                        self._changed.clear()
                        await self._list_again(link)

    async def _something_happens(self, lost: asyncio.Event, fate: Fate) -> None:
        waits = [asyncio.ensure_future(one.wait()) for one in (lost, self._changed, fate.known)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
        if fate.reason:
            lost.set()

    async def _list_again(self, link: Link) -> None:
        link.tools = await list_tools(link.client, self.name, self.config.max_tools)
        self._take(link.tools)
        self._log.info("MCP server {} has changed its tools: there are {} now.", self.name, len(link.tools))

    def _open(self, link: Link) -> None:
        self._link, self.state, self.fault = link, "ready", None
        self.connects += 1
        self.protocol = link.client.protocol_version
        self.instructions = link.client.instructions or ""
        self._take(link.tools)
        self._log.debug("MCP server {} is connected, protocol {}.", self.name, self.protocol)
        self._settle(link)

    def _take(self, tools: tuple[Definition, ...]) -> None:
        self.tools = {one.name: one for one in tools}
        self._on_tools(self.name)

    def _fail(self, fault: ServerFault) -> None:
        self.fault, self.state = fault, "failed"
        self._settle(fault)

    def _settle(self, outcome: Link | ServerFault) -> None:
        coming, self._next = self._next, None
        if coming is None or coming.done():
            return
        if isinstance(outcome, Link):
            coming.set_result(outcome)
        else:
            coming.set_exception(outcome)
            coming.exception()  # whoever waited may be gone

    async def _end(self, life: asyncio.Task[None]) -> None:
        life.cancel()
        if not await ended(life, _TEARDOWN_S):
            self._log.warning("MCP server {} does not end; its connection is left to itself.", self.name)

    def _fault_of(self, life: asyncio.Task[None], fate: Fate) -> ServerFault:
        error = None if not life.done() or life.cancelled() else life.exception()
        error = None if error is None else unwrapped(error)
        if isinstance(error, ServerFault):
            return error
        if error is not None and not is_lost(error):
            cause = in_words(error, fate.status)
        else:
            cause = fate.reason or (in_words(error, fate.status) if error is not None else "the connection was lost")
        said = f" (stderr: {' | '.join(fate.said)})" if fate.said else ""
        return ServerFault(self.name, f"{cause}{said}", error_type="transient")

    def _again(self, fault: ServerFault, wait: float) -> ServerFault:
        """The fault of a server that waits to be tried again."""
        words = f"{fault.cause}; it is tried again in {max(1, round(wait))} s"
        return ServerFault(self.name, words, error_type=fault.error_type)

    # -- what the server says by itself --------------------------------------------------------------------------------

    async def _hear(self, message: Any) -> None:
        if isinstance(message, ToolListChangedNotification):
            self._changed.set()
        elif isinstance(message, ResourceUpdatedNotification):
            self.hearing.tell(message.params.uri)

    def _hear_line(self, line: str) -> None:
        now = time.monotonic()
        if now - self._since > _SPAN_S:
            if self._lines > _MOST_LINES:
                self._log.debug("stderr: {} more lines", self._lines - _MOST_LINES)
            self._lines, self._since = 0, now
        self._lines += 1
        if self._lines <= _MOST_LINES:
            self._log.debug("stderr: {}", line)


def _noticed(life: asyncio.Task[None]) -> None:
    if not life.cancelled():
        life.exception()
