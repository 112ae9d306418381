"""Somebody who hears of everything that happens: for metrics, traces, webhooks."""

from __future__ import annotations

from typing import Protocol

from opspawn.contracts.events import Event


class Listener(Protocol):
    """Hears every event of the store, in order, in a thread and an event loop of its own.

    It may be slow: it is fed from the store at its own pace, and no run waits for it. What `on_event` raises is logged,
    and the same event comes again after a pause; after some failures in a row the listener is switched off until the
    process starts anew, and the event `listener.disabled` says so.

    A listener is durable unless it has an attribute `durable` that is false: it gets every event at least once, in one
    process at a time, and goes on where it was after a restart, so it must bear to hear an event twice. It begins with
    what happens after it was first seen. One that is not durable hears, in every process, what happens from its start.

    Optional beside `on_event`: `async def on_delta(delta)`, which hears of streams as `TaskDelta`s, best effort; and
    `async def aclose()`, awaited at the end.
    """

    async def on_event(self, event: Event) -> None:
        """Hear of one event. Large values in `data` are shown as `{"$payload": digest, "bytes": n}`."""
        ...
