"""Lines that a person types while something runs, without a thread and without blocking."""

from __future__ import annotations

import asyncio
import os
import sys


def somebody_types() -> bool:
    """Whether a person sits there to be asked: input and talk are a terminal."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


async def typed_line() -> str | None:
    """The next line that is typed, without its end; None when there is no more. Cancelling leaves the terminal free."""
    loop = asyncio.get_running_loop()
    number = sys.stdin.fileno()
    typed: asyncio.Future[bytes] = loop.create_future()

    def read() -> None:
        if typed.done():
            return
        try:
            typed.set_result(os.read(number, 65536))
        except OSError:  # the terminal is gone
            typed.set_result(b"")

    loop.add_reader(number, read)
    try:
        data = await typed
    finally:
        loop.remove_reader(number)
    return data.decode("utf-8", "replace").rstrip("\r\n") if data else None
