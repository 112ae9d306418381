"""Who listens for news: older clients on their connection, those of the modern era on a stream that they open."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from mcp import MCPError
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from mcp.types import (
    INTERNAL_ERROR,
    ServerCapabilities,
    SubscriptionFilter,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
)

from opspawn_mcp.serving.keys import Caller
from opspawn_mcp.serving.news import News, TooManyEars

Ctx = ServerRequestContext[Any, Any]
_LISTENS = "opspawn-listens"


class HonestServer(Server[Any]):
    """The SDK's server, which declares what can change and no more: the SDK would declare all that it could carry."""

    #: Whether the list of tools can change while it runs.
    tools_change = False

    def get_capabilities(self, *args: Any, **kwargs: Any) -> ServerCapabilities:
        """What clients may count on."""
        told = super().get_capabilities(*args, **kwargs)
        if told.tools is not None:
            told.tools.list_changed = self.tools_change
        if told.resources is not None:
            told.resources.list_changed = told.resources.subscribe = False
        return told


class Listeners:
    """Lets clients listen to the news."""

    def __init__(self, news: News, *, tools_change: bool) -> None:
        self._news = news
        self._tools_change = tools_change
        self._streams: set[ListenHandler] = set()

    def connected(self, ctx: Ctx, caller: Caller) -> None:
        """A client of the older era is ready: it is told on its connection, until that ends."""
        if not self._tools_change or "call" not in caller.scopes:
            return
        connection = ctx.session._connection  # the SDK has no other way to hear of a connection's end
        if _LISTENS in connection.state:  # a client may say twice that it is ready
            return
        connection.state[_LISTENS] = True
        with suppress(TooManyEars):
            connection.exit_stack.callback(self._news.listen(caller, connection.send_tool_list_changed))

    async def listen(self, ctx: Ctx, params: SubscriptionsListenRequestParams, caller: Caller) -> Any:
        """A stream of the modern era, until the client or `stop` ends it. What is not told of is not acknowledged."""
        bus = InMemorySubscriptionBus()
        stream = ListenHandler(bus)
        wanted = bool(params.notifications.tools_list_changed) and self._tools_change
        only = SubscriptionFilter(tools_list_changed=True if wanted else None)
        try:
            leave = self._news.listen(caller, lambda: bus.publish(ToolsListChanged())) if wanted else lambda: None
        except TooManyEars as error:
            raise MCPError(INTERNAL_ERROR, "Too many clients listen; ask for the list now and then.") from error
        self._streams.add(stream)
        try:
            result: SubscriptionsListenResult = await stream(ctx, params.model_copy(update={"notifications": only}))
            return result
        finally:
            self._streams.discard(stream)
            leave()

    def stop(self) -> None:
        """End all streams, each with its last word."""
        for stream in list(self._streams):
            stream.close()
