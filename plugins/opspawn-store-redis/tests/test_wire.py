"""The connection that the store speaks to directly: replies in order, whoever is gone, and a new one when it broke."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

from opspawn_store_redis import RedisConfig, connections
from opspawn_store_redis.proxy import Proxy
from opspawn_store_redis.testing import RedisServer
from opspawn_store_redis.wire import Wire


@pytest.fixture
async def proxy(server: RedisServer) -> AsyncIterator[Proxy]:
    async with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def wire(proxy: Proxy, config: RedisConfig) -> AsyncIterator[Wire]:
    client = connections.async_client(config.model_copy(update={"url": proxy.url}))
    wire = Wire(client, 1.0)
    yield wire
    await wire.aclose()
    await client.aclose()


async def test_replies_go_to_whoever_asked_even_if_another_is_gone(wire: Wire) -> None:
    """Named guard: the reply to a caller that was cancelled is not the next one's."""
    assert await wire.ask("ECHO", "first") == b"first"
    asked = [asyncio.create_task(wire.ask("ECHO", str(n))) for n in range(5)]
    await asyncio.sleep(0)
    asked[1].cancel()
    replies = await asyncio.gather(*asked, return_exceptions=True)
    assert [reply for reply in replies if isinstance(reply, bytes)] == [b"0", b"2", b"3", b"4"]


async def test_an_error_is_of_one_command_alone(wire: Wire) -> None:
    replies = await asyncio.gather(wire.ask("HGET", "x"), wire.ask("ECHO", "x"), return_exceptions=True)
    assert isinstance(replies[0], redis.exceptions.ResponseError)
    assert replies[1] == b"x"


async def test_many_that_ask_at_first_share_a_connection(wire: Wire) -> None:
    ids = await asyncio.gather(*(wire.ask("CLIENT", "ID") for _ in range(5)))
    assert len(set(ids)) == 1


async def test_what_waits_fails_when_no_reply_comes_and_the_next_has_a_new_connection(proxy: Proxy, wire: Wire) -> None:
    before = await wire.ask("CLIENT", "ID")
    proxy.silent = True
    late = await asyncio.gather(wire.ask("ECHO", "a"), wire.ask("ECHO", "b"), return_exceptions=True)
    assert [type(one) for one in late] == [redis.exceptions.TimeoutError] * 2
    proxy.silent = False
    assert await wire.ask("CLIENT", "ID") != before


async def test_what_waits_fails_when_the_connection_ends(server: RedisServer, wire: Wire) -> None:
    name = await wire.ask("CLIENT", "ID")
    blocked = asyncio.create_task(wire.ask("BLPOP", "nothing", 0.9))
    await asyncio.sleep(0)
    other: Any = redis.Redis.from_url(server.url)
    other.execute_command("CLIENT", "KILL", "ID", name)
    other.close()
    with pytest.raises(redis.exceptions.ConnectionError):
        await blocked
    assert wire.lost.is_set()
    assert await wire.ask("ECHO", "x") == b"x"


async def test_what_is_asked_while_the_end_of_the_connection_is_not_told_yet_goes_over_a_new_one(wire: Wire) -> None:
    """From Python 3.12 on, to write then is a TypeError."""
    before = await wire.ask("CLIENT", "ID")
    wire._transport.close()  # type: ignore[union-attr]  # as when the server has closed it

    assert not wire.connected
    assert await wire.ask("CLIENT", "ID") != before


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="this system does not tell how patient a socket is")
async def test_a_server_that_vanishes_without_a_word_is_found_out_within_half_a_minute(wire: Wire) -> None:
    """Also by who only listens, and so never sends what would come back."""
    await wire.ask("PING")
    own = wire._transport.get_extra_info("socket")  # type: ignore[union-attr]
    first, then, times = (
        own.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
        for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
    )

    assert own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert first + then * times <= 30


async def test_what_cannot_be_sent_waits_for_no_reply(wire: Wire) -> None:
    """Named guard: else each reply from then on would go to whoever asked before."""
    assert await wire.ask("ECHO", "first") == b"first"
    with pytest.raises(UnicodeError):
        await wire.ask("ECHO", "\ud800")
    assert await asyncio.gather(*(wire.ask("ECHO", str(n)) for n in range(3))) == [b"0", b"1", b"2"]
