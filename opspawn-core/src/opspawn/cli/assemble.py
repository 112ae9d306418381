"""What the commands share that run or read an app: finding it, opening a store that is there already, stopping."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from opspawn.app import App, load_app
from opspawn.cli.output import say
from opspawn.cli.typed import as_typed
from opspawn.config import Loaded
from opspawn.contracts.plugins import StorePlugin
from opspawn.contracts.store import Store
from opspawn.declarations import agents_of
from opspawn.errors import ConfigError, InvalidInput
from opspawn.logs import configure
from opspawn.plugins import Plugins


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
    """The configured store; refuses to make one where nothing has run yet. What it logs comes as in a server."""
    from opspawn.opening import load_plugins, open_store

    start_logs(loaded)
    plugins = load_plugins(loaded)
    _refuse_nothing(loaded, plugins)
    store = await open_store(loaded, plugins)
    try:
        yield store
    finally:
        await store.aclose()


def _refuse_nothing(loaded: Loaded, plugins: Plugins) -> None:
    record = cast(StorePlugin, plugins.get("store", loaded.settings.store))
    if record.nothing_yet is None:
        return
    missing = record.nothing_yet(plugins.section(record, loaded.sections), loaded.settings.data)
    if missing is not None:
        raise ConfigError(missing, remedy="Start with 'opspawn serve' or 'opspawn run', or go to its folder.")


def run(main: Coroutine[Any, Any, int | None]) -> int:
    """Run a command to its end; the answer is its exit code."""
    try:
        return asyncio.run(main) or 0
    except InvalidInput as error:
        raise as_typed(error) from error


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
