"""What the commands share that decide about tasks which are there already."""

from __future__ import annotations

import getpass
import json
from collections.abc import Awaitable, Callable
from typing import Any

import click

from opspawn.cli.assemble import existing_store, run
from opspawn.cli.output import configuration, print_json, say
from opspawn.cli.views import task_json
from opspawn.contracts.store import Store, Task
from opspawn.errors import InvalidInput
from opspawn.opening import load_plugins, open_waker
from opspawn.ops.engine.engine import Engine


def with_engine(context: click.Context, act: Callable[[Engine], Awaitable[None]]) -> None:
    """Act with an engine on the configured store, and exit."""
    with_store(context, lambda store, engine: act(engine))


def with_store(context: click.Context, act: Callable[[Store, Engine], Awaitable[None]]) -> None:
    """Act with the configured store and an engine on it, and exit."""
    loaded = configuration()

    async def main() -> int:
        async with existing_store(loaded) as store:
            waker = await open_waker(load_plugins(loaded), loaded)
            engine = Engine(store, waker, _accept_nothing)
            try:
                await act(store, engine)
            finally:
                await engine.aclose()
                await waker.aclose()
        return 0

    context.exit(run(main()))


def who() -> str:
    """Who sits at this terminal, as far as the system knows."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _accept_nothing(handler: str, input: Any) -> Any:
    raise InvalidInput("This command accepts no new tasks.", remedy="Use 'opspawn run'.")


def tell(task: Task, words: str, as_json: bool) -> None:
    """Print the task as JSON, or say the words."""
    if as_json:
        print_json(task_json(task))
    else:
        say(words)


def how_to_run(task: Task) -> str:
    """What to do so that a task of `opspawn run` goes on."""
    return f" Run it with: opspawn run --resume {task.id}" if task.queue.startswith("run-") else ""


def brief(task: Task) -> str:
    """The result, or the error, in at most 60 characters."""
    value = (task.error or {}).get("message") if task.error else task.result
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) if value is not None else ""
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."
