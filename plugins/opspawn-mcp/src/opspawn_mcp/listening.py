"""Hearing of changed lists from servers of the modern era, which tell nobody who does not listen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from mcp import Client, MCPError
from mcp.client.subscriptions import SubscriptionLost

_AGAIN_S = 5.0


@asynccontextmanager
async def watch_tools(client: Client, changed: Callable[[], None]) -> AsyncIterator[None]:
    """Call `changed` whenever the server says that its tools have changed, while the block lasts.

    Servers of the older era tell it by themselves; one that does not offer it is asked once.
    """
    if client.protocol_version < "2026" or client.server_capabilities.tools is None:
        yield
        return
    watching = asyncio.create_task(_watch(client, changed))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _watch(client: Client, changed: Callable[[], None]) -> None:
    """Listen, and listen again when the stream was cut: what was missed in between is made up for by a new list."""
    first = True
    while True:
        try:
            async with client.listen(tools_list_changed=True) as events:
                if not first:
                    changed()
                first = False
                async for _ in events:
                    changed()
        except MCPError:
            return
        except (SubscriptionLost, TimeoutError):
            pass
        first = False
        await asyncio.sleep(_AGAIN_S)
