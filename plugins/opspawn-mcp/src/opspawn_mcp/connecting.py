"""From a server's settings to a client of the SDK, not yet connected. A new one is made for each connection."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Any

from mcp import Client, MCPError
from mcp.client.session import MessageHandlerFnT
from mcp.client.streamable_http import streamable_http_client
from mcp.types import REQUEST_TIMEOUT, DiscoverResult, Implementation

from opspawn_mcp.http import guarded_client
from opspawn_mcp.settings import ServerConfig
from opspawn_mcp.stdio import Fate, Launch, stdio_transport

_MODERN = "2026-07-28"
#: From 2.3 on the SDK has a limit per event; ours counts.
_OWN_LIMIT: Any = (
    {"max_sse_event_size": None} if "max_sse_event_size" in signature(streamable_http_client).parameters else {}
)


@dataclass(frozen=True)
class Callbacks:
    """What a client answers when a server asks: further arguments of `mcp.Client`, and of the HTTP client its auth."""

    client: dict[str, Any] = field(default_factory=dict)
    auth: Any = None


@asynccontextmanager
async def connection(
    config: ServerConfig,
    root: Path,
    fate: Fate,
    *,
    on_message: MessageHandlerFnT,
    on_line: Callable[[str], None],
    callbacks: Callbacks,
) -> AsyncIterator[Client]:
    """A connected client. To be entered and left in one task.

    Raises: what the SDK, HTTP or the system raises; in groups, too.
    """
    async with AsyncExitStack() as stack:
        transport: Any
        if config.url is not None:
            # At "info" the SDK tells the ids of sessions, which let others in.
            logging.getLogger(streamable_http_client.__module__).setLevel(logging.WARNING)
            http = guarded_client(
                {name: value.get_secret_value() for name, value in config.headers.items()},
                allow_private=config.allow_private,
                most_bytes=config.max_message_bytes,
                connect_timeout_s=config.connect_timeout_s,
                on_error=partial(setattr, fate, "status"),
                auth=callbacks.auth,
            )
            await stack.enter_async_context(http)
            transport = streamable_http_client(config.url, http_client=http, **_OWN_LIMIT)
        else:
            transport = stdio_transport(_launch(config, root), fate, on_line)
        client = Client(
            transport,
            mode={"modern": _MODERN}.get(config.mode, config.mode),
            read_timeout_seconds=max(config.timeout_s, config.connect_timeout_s),
            message_handler=on_message,
            client_info=Implementation(name="opspawn", version=version("opspawn-core")),
            cache=None,
            **callbacks.client,
        )
        await stack.enter_async_context(client)
        if config.mode == "modern":
            await _learn(client)
        yield client


async def _learn(client: Client) -> None:
    """Ask a server of the modern era what it can; a client that is told the era beforehand does not know.

    The SDK waits ten seconds for the answer, which a server that has to be fetched first may not keep; how long it may
    take is for `connect_timeout_s` to say, so it is asked again until then.
    """
    while True:
        try:
            told = await client.session.send_discover(_MODERN)
        except MCPError as error:
            if error.code != REQUEST_TIMEOUT:
                raise
        else:
            client.session.adopt(DiscoverResult.model_validate(told))
            return


def _launch(config: ServerConfig, root: Path) -> Launch:
    assert config.command is not None
    env = {name: value.get_secret_value() for name, value in config.env.items()}
    return Launch(config.command, config.args, env, root / (config.cwd or "."), config.max_message_bytes)
