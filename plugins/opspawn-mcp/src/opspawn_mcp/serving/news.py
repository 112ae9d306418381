"""News for clients: what they are offered has changed. In both eras: on a connection, or on a stream that listens.

What is offered follows from much that tells nobody: pins that another process writes, servers that come up, workflows
that are stored elsewhere. So it is looked at again and again, as long as anybody listens, and compared.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from opspawn import details
from opspawn_mcp.serving.keys import Caller

#: How long it is between two looks, in seconds: so many changes at once are told once.
_LOOK_S = 1.0
#: Looking takes one part of so many of the time, at most, however much is offered.
_SHARE = 100
#: How many listen at once.
_MOST = 1024
Look = Callable[[Caller], Awaitable[Mapping[str, Any]]]
Tell = Callable[[], Awaitable[None]]


class TooManyEars(Exception):
    """As many listen already as may."""


class News:
    """Looks at what each caller is offered, and tells those who listen when it is no longer the same."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._ears: dict[object, tuple[Caller, Tell]] = {}
        self._told: dict[str, Mapping[str, Any]] = {}
        self._telling: dict[object, asyncio.Task[None]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._over = False

    def shown(self, caller: Caller, offers: Mapping[str, Any]) -> None:
        """This is what a caller was given when it asked: news is what differs from it."""
        listens = any(heard.name == caller.name for heard, _ in self._ears.values())
        if not listens or caller.name not in self._told:
            self._told[caller.name] = offers

    def listen(self, caller: Caller, tell: Tell) -> Callable[[], None]:
        """Have `tell` called after each change for a caller, until what is returned is called.

        It may take its time: it is not called again before it has returned, and holds nobody else up.

        Raises: TooManyEars.
        """
        if len(self._ears) >= _MOST or self._over:
            raise TooManyEars
        ear = object()
        self._ears[ear] = (caller, tell)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_again_and_again(), name="opspawn-mcp-news")
        return lambda: self._leave(ear)

    def stop(self) -> None:
        """Look no more, and tell nobody anything more."""
        self._over = True
        for ear in list(self._ears):
            self._leave(ear)

    def _leave(self, ear: object) -> None:
        self._ears.pop(ear, None)
        if (telling := self._telling.pop(ear, None)) is not None:
            telling.cancel()
        if not self._ears and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    async def _look_again_and_again(self) -> None:
        while True:
            began = time.monotonic()
            for caller in list({heard.name: heard for heard, _ in self._ears.values()}.values()):
                try:
                    offers = await self._look(caller)
                except Exception as error:  # of a source of tools, or of a file that is being written: it may pass
                    details.debug("No news for now: {}", error, plugin="mcp", error_type=type(error).__name__)
                    continue
                if self._told.setdefault(caller.name, offers) != offers:
                    self._told[caller.name] = offers
                    self._tell(caller)
            await asyncio.sleep(max(_LOOK_S, _SHARE * (time.monotonic() - began)))

    def _tell(self, caller: Caller) -> None:
        for ear, (heard, tell) in list(self._ears.items()):
            if heard.name != caller.name or ear in self._telling:
                continue  # one that has not taken the last news yet will ask for what there is when it does

            async def telling(ear: object = ear, tell: Tell = tell) -> None:
                try:
                    await tell()
                except Exception as error:  # of a connection that ends
                    details.debug("A client was not told of news: {}", error, plugin="mcp")
                finally:
                    self._telling.pop(ear, None)

            self._telling[ear] = asyncio.create_task(telling(), name="opspawn-mcp-news-told")
