"""The sandboxes "none" and "thread": no walls, only another place to wait."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from opspawn.agentkit.threads import Threads
from opspawn.contracts.sandbox import SandboxCall


class InPlace:
    """Runs `async` functions in the event loop and plain ones in a thread, as without a sandbox."""

    def check(self, tool: str, function: Callable[..., Any]) -> None:
        """Anything can run here."""

    async def run(self, call: SandboxCall) -> Any:
        return await call.here()

    async def aclose(self) -> None:
        """Nothing to close."""


class InThread:
    """Runs every function in a thread, `async` ones in an event loop of their own, so that none holds up the others."""

    def __init__(self) -> None:
        self._threads = Threads("tools")

    def check(self, tool: str, function: Callable[..., Any]) -> None:
        """Anything can run here."""

    async def run(self, call: SandboxCall) -> Any:
        if not inspect.iscoroutinefunction(call.function):
            return await call.here()
        return await self._threads.run(lambda: asyncio.run(call.here()), {})

    async def aclose(self) -> None:
        """Threads without work end by themselves."""
