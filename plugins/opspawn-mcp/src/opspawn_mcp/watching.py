"""Hearing of a resource that changes, in both eras of the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from mcp import Client, MCPError
from mcp.client.subscriptions import SubscriptionLost
from mcp.types import (
    EmptyResult,
    SubscribeRequest,
    SubscribeRequestParams,
    UnsubscribeRequest,
    UnsubscribeRequestParams,
)

from opspawn_mcp.faults import ServerFault
from opspawn_mcp.server import Link, Server

_MODERN = "2026"
_GOODBYE_S = 2.0


class Watch:
    """What is heard of one resource."""

    def __init__(self) -> None:
        self._heard = asyncio.Event()
        self._lost = False

    def changed(self) -> None:
        """It has changed."""
        self._heard.set()

    def lost(self) -> None:
        """Nothing will be heard any more."""
        self._lost = True
        self._heard.set()

    async def next(self) -> bool:
        """Return when it has changed since the last time; False once nothing will be heard any more."""
        await self._heard.wait()
        if not self._lost:
            self._heard.clear()
        return not self._lost


@asynccontextmanager
async def watching(server: Server, link: Link, uri: str) -> AsyncIterator[Watch]:
    """Hear of the changes of a resource, over this connection, while the block lasts.

    Raises: ServerFault: the server does not tell of changes, or not of those of this resource.
    """
    client, watch = link.client, Watch()
    offered = client.server_capabilities.resources
    if offered is None or not offered.subscribe:
        raise ServerFault(server.name, "it does not tell of changes of its resources (subscribe)")
    ending = asyncio.ensure_future(link.lost.wait())
    ending.add_done_callback(lambda _: watch.lost())
    way = (
        _listening(client, server.name, uri, watch)
        if client.protocol_version >= _MODERN
        else _subscribed(client, server, uri, watch)
    )
    try:
        async with way:
            yield watch
    finally:
        ending.cancel()


@asynccontextmanager
async def _subscribed(client: Client, server: Server, uri: str, watch: Watch) -> AsyncIterator[None]:
    """The older era: a subscription, and notifications on the connection."""
    with server.hearing.of(uri, watch.changed):
        await client.session.send_request(SubscribeRequest(params=SubscribeRequestParams(uri=uri)), EmptyResult)
        yield
    if not server.hearing.wanted(uri):
        goodbye = UnsubscribeRequest(params=UnsubscribeRequestParams(uri=uri))
        with suppress(MCPError, TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await client.session.send_request(goodbye, EmptyResult)


@asynccontextmanager
async def _listening(client: Client, name: str, uri: str, watch: Watch) -> AsyncIterator[None]:
    """The modern era: a stream of events, in a task of its own."""
    open_: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def listen() -> None:
        try:
            async with client.listen(resource_subscriptions=[uri]) as events:
                if uri not in (events.honored.resource_subscriptions or ()):
                    raise ServerFault(name, f"it does not tell of changes of {uri}")
                open_.set_result(None)
                async for _ in events:
                    watch.changed()
        except (MCPError, SubscriptionLost, TimeoutError, ServerFault) as error:
            if not open_.done():
                open_.set_exception(error)
        watch.lost()

    listening = asyncio.create_task(listen())
    try:
        await open_
        yield
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
