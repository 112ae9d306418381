"""Registers the built-in waker, through the same door as everybody else's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from opspawn.contracts.plugins import WakerPlugin
from opspawn.contracts.waker import Waker
from opspawn.hookspecs import hookimpl

OPSPAWN_PLUGIN_API = ">=1,<2"


async def open_waker(section: Any) -> Waker:
    """A waker for the workers of this process."""
    from opspawn.wakers.local import LocalWaker

    return LocalWaker()


@hookimpl
def opspawn_wakers() -> Iterable[WakerPlugin]:
    """The in-process waker, `waker = "local"`."""
    yield WakerPlugin("local", open_waker, help="Wakes the workers of the same process.")
