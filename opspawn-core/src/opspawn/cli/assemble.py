"""What the commands share that run or read an app: finding it, opening a store that is there already, stopping."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from opspawn.app import App, load_app
from opspawn.cli.output import say
from opspawn.config import Loaded
from opspawn.contracts.store import Store
from opspawn.declarations import agents_of
from opspawn.errors import ConfigError
from opspawn.logs import configure


def start_logs(loaded: Loaded) -> None:
    """Open the process's one log."""
    configure(loaded.settings.logs.level, loaded.settings.logs.format)


def find_app(named: str | None, loaded: Loaded) -> App:
    """The app named on the command line (from the current folder) or in the configuration (from its folder), with the
    agents that the configuration declares; these alone where no app is named."""
    if named:
        return load_app(named, Path.cwd()).with_agents(agents_of(loaded))
    if loaded.settings.app is None and loaded.agents:
        return App().with_agents(agents_of(loaded))
    if loaded.settings.app is None:
        raise ConfigError(
            "No app is named.",
            remedy='Name one, e.g. app:app; or write app = "app:app" into opspawn.toml; '
            "or make both with 'opspawn init'.",
        )
    return load_app(loaded.settings.app, loaded.folder).with_agents(agents_of(loaded))


@asynccontextmanager
async def existing_store(loaded: Loaded) -> AsyncIterator[Store]:
    """The configured store; refuses to make one where nothing has run yet."""
    from opspawn.opening import open_store

    _refuse_nothing(loaded)
    store = await open_store(loaded)
    try:
        yield store
    finally:
        await store.aclose()


def _refuse_nothing(loaded: Loaded) -> None:
    data = Path(loaded.settings.data)
    if loaded.settings.store == "sqlite" and "path" not in loaded.sections.get("sqlite", {}) and not data.is_dir():
        raise ConfigError(
            f"There is no data in {data} yet.",
            remedy="Start with 'opspawn serve' or 'opspawn run', or go to its folder.",
        )


def run(main: Coroutine[Any, Any, int | None]) -> int:
    """Run a command to its end; the answer is its exit code."""
    return asyncio.run(main) or 0


def on_signals(stop: Callable[[], None], *, first: str | None = None) -> None:
    """Call `stop` at each SIGTERM and SIGINT; say `first` at the first, so that nobody takes the wait for a hang."""
    loop = asyncio.get_running_loop()
    words = [first] if first else []

    def stopping() -> None:
        if words:
            say(words.pop())
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping)


def stopping_words(loaded: Loaded) -> str:
    """What a worker that begins to stop tells the person at the keyboard."""
    drain_s = loaded.settings.worker.drain_s
    return f"Stopping: what is in the middle of a step has {drain_s:g} s to finish it. Ctrl-C again stops at once."
