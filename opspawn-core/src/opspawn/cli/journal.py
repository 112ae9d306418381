"""`opspawn tasks journal`: what happened in one task, line by line, and live."""

from __future__ import annotations

import asyncio
from functools import partial

import click

from opspawn.cli.assemble import existing_store, on_signals, run
from opspawn.cli.output import configuration, json_option, print_json, print_text
from opspawn.config import Loaded
from opspawn.contracts.events import Event
from opspawn.contracts.store import Store
from opspawn.errors import NotFound
from opspawn.logs import event_line
from opspawn.views import EventView

_ENDS = ("task.succeeded", "task.failed", "task.cancelled")


@click.command()
@click.argument("id")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens next, until the task has ended.")
@json_option
@click.pass_context
def journal(context: click.Context, id: str, follow: bool, as_json: bool) -> None:
    """Print what happened in task ID, oldest first: time, type, key, what, how long it took.

    With --json, one event a line.
    """
    context.exit(run(_show(configuration(), id, follow, as_json)))


async def _show(loaded: Loaded, id: str, follow: bool, as_json: bool) -> int:
    async with existing_store(loaded) as store:
        task = await store.get_task(id)
        if task is None:
            raise NotFound("task", id, remedy="See 'opspawn tasks list'.")
        live = store.tail() if follow and not task.state.terminal else None
        last = await _print(store, id, 0, as_json)
        if live is None:
            return 0
        current = asyncio.current_task()
        on_signals(partial(_end, current))
        try:
            if (ended := await store.get_task(id)) is None or ended.state.terminal:
                await _print(store, id, last, as_json)
                return 0
            async for item in live:
                if isinstance(item, Event) and item.task == id and item.position > last:
                    _line(item, as_json)
                    if item.type in _ENDS:
                        return 0
        except asyncio.CancelledError:
            return 0
    return 0


async def _print(store: Store, id: str, after: int, as_json: bool) -> int:
    """Print what came after a position; the last one."""
    for event in await store.journal(id, after):
        _line(event, as_json)
        after = event.position
    return after


def _end(task: asyncio.Task[int] | None) -> None:
    if task is not None:
        task.cancel()


def _line(event: Event, as_json: bool) -> None:
    if as_json:
        print_json(EventView.of(event).to_json(), line=True)
        return
    time = event.time.astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    key = str(event.data.get("key") or event.data.get("child") or "")
    what = " ".join(str(event_line(event)["message"]).split())
    print_text(f"{time}  {event.type:<16}  {key:<14}  {what}")  # which says how long it took
