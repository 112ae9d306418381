"""The ends of the talk with a local server: messages stay whole whatever the pipe takes, and others get their turn."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator

import anyio
import pytest
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCNotification, JSONRPCRequest

from opspawn_mcp.pipes import Inbox, Outbox

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    ours, theirs = os.pipe()
    yield ours, theirs
    for file in (ours, theirs):
        try:
            os.close(file)
        except OSError:
            continue


def said(number: int) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": f"n{number}"}).encode() + b"\n"


def asked(number: int, size: int) -> SessionMessage:
    return SessionMessage(JSONRPCRequest(jsonrpc="2.0", id=number, method="m", params={"text": str(number) * size}))


async def test_messages_longer_than_the_pipe_arrive_whole_and_in_order(pipe: Pipe) -> None:
    outbox, came = Outbox(pipe[1], on_end=lambda: None), bytearray()
    sending = [asyncio.ensure_future(outbox.send(asked(number, 200_000))) for number in range(3)]
    await asyncio.sleep(0)
    assert not any(one.done() for one in sending)  # nobody has read yet

    async with asyncio.timeout(20):
        while came.count(b"\n") < 3:
            came += await asyncio.to_thread(os.read, pipe[0], 65_536)
        await asyncio.gather(*sending)
    outbox.close()

    assert [json.loads(line)["id"] for line in came.splitlines()] == [0, 1, 2]


async def test_whoever_sends_to_a_pipe_that_nobody_reads_any_more_is_told(pipe: Pipe) -> None:
    ends: list[bool] = []
    outbox = Outbox(pipe[1], on_end=lambda: ends.append(True))
    sending = asyncio.ensure_future(outbox.send(asked(1, 200_000)))
    await asyncio.sleep(0)
    os.close(pipe[0])

    with pytest.raises(anyio.BrokenResourceError):
        await sending
    with pytest.raises(anyio.ClosedResourceError):
        await outbox.send(asked(2, 1))
    assert ends == [True]


async def test_who_says_much_at_once_does_not_hold_up_the_others(pipe: Pipe) -> None:
    inbox = Inbox(pipe[0], 100_000, on_fault=lambda why: None, on_end=lambda: None)
    os.write(pipe[1], b"".join(map(said, range(500))))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.ensure_future(other())
    got = [(await inbox.receive()).message for _ in range(500)]
    beside.cancel()
    inbox.close_pipe()

    assert [one.method for one in got if isinstance(one, JSONRPCNotification)] == [f"n{n}" for n in range(500)]
    assert turns >= 499


async def test_no_more_is_read_than_somebody_takes(pipe: Pipe) -> None:
    inbox = Inbox(pipe[0], 100_000, on_fault=lambda why: None, on_end=lambda: None)
    os.set_blocking(pipe[1], False)
    written = 0
    for _ in range(20):  # ever more than the pipe itself and what is held can take
        try:
            while True:
                written += os.write(pipe[1], said(7) * 1000)
        except BlockingIOError:
            await asyncio.sleep(0.001)

    assert written < 400_000
    for _ in range(1000):
        await inbox.receive()
    await inbox.aclose()  # from here on it is dropped
    os.set_blocking(pipe[1], True)
    async with asyncio.timeout(20):
        await asyncio.to_thread(os.write, pipe[1], said(7) * 5000)
    inbox.close_pipe()
