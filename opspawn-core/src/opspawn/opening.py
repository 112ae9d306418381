"""What a host is made of, as the configuration says: plugins, a kit, a store, a waker, listeners, options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from opspawn.agentkit.kit import Kit, rates_of
from opspawn.app import App
from opspawn.config import Loaded
from opspawn.contracts.listener import Listener
from opspawn.contracts.plugins import ListenerPlugin, PluginConfig, StorePlugin, WakerPlugin
from opspawn.contracts.store import Store
from opspawn.contracts.waker import Waker
from opspawn.errors import ConfigError, PluginError, StoreError
from opspawn.ops.moving import refuse_unfinished
from opspawn.ops.registries import RosterOptions
from opspawn.ops.run.executor import WorkerOptions
from opspawn.plugins import Plugins


def load_plugins(loaded: Loaded) -> Plugins:
    """Find the plugins that the configuration allows. Raises: ConfigError: a section is wrong, or is nobody's."""
    plugins = Plugins.load(allow=loaded.settings.plugins_allow, block=loaded.settings.plugins_block)
    plugins.check(loaded.sections)
    return plugins


def listeners_of(app: App, plugins: Plugins, loaded: Loaded) -> dict[str, Listener]:
    """The listeners of the app, and of the plugins that the configuration names. Raises: ConfigError."""
    found = dict(app.listeners)
    for name in loaded.settings.listeners:
        record = cast(ListenerPlugin, plugins.get("listener", name))
        if name in found:
            raise ConfigError(
                f"The app and a plugin both have a listener {name!r}.", remedy="Give that of the app another name."
            )
        found[name] = record.open(plugins.section(record, loaded.sections))
    return found


async def open_store(loaded: Loaded, plugins: Plugins | None = None) -> Store:
    """Open the configured store, e.g. alone: for commands that only read or decide. Raises: StoreError; PluginError."""
    plugins = plugins or load_plugins(loaded)
    record = cast(StorePlugin, plugins.get("store", loaded.settings.store))
    store = await open_as_it_is(loaded, record, plugins.section(record, loaded.sections))
    try:
        await refuse_unfinished(store)
    except BaseException:
        await store.aclose()
        raise
    return store


async def open_as_it_is(loaded: Loaded, record: StorePlugin, section: PluginConfig) -> Store:
    """Open a store, even one into which a copy was not finished. Raises: StoreError; PluginError."""
    try:
        return await record.open(section, loaded.settings.data)
    except (StoreError, PluginError):
        raise
    except Exception as error:
        raise PluginError(f"The store {record.name!r} cannot be opened: {type(error).__name__}: {error}") from error


async def open_waker(plugins: Plugins, loaded: Loaded) -> Waker:
    """Open the configured waker alone: for commands that change something that a worker should look at."""
    record = cast(WakerPlugin, plugins.get("waker", loaded.settings.waker))
    section = plugins.section(record, loaded.sections)
    if record.beside is not None:
        store = plugins.get("store", loaded.settings.store)
        section = record.beside(section, plugins.section(store, loaded.sections))
    return await record.open(section)


def new_kit(loaded: Loaded, plugins: Plugins) -> Kit:
    """What makes models, tools and memories for the app's agents."""
    settings = loaded.settings
    return Kit(
        plugins,
        model=settings.model,
        sections=loaded.sections,
        root=loaded.folder,
        network_models=settings.network_models,
        rates=rates_of(settings),
        policy=settings.policy,
        memory=settings.memory,
        embedder=settings.embedder,
        data=settings.data,
    )


def worker_options(loaded: Loaded, queues: Sequence[str] | None) -> WorkerOptions:
    """How the worker runs; `queues` are those of the configuration by default."""
    worker = loaded.settings.worker
    return WorkerOptions(
        queues=tuple(queues or worker.queues),
        slots=worker.slots,
        lease_s=worker.lease_s,
        poll_s=worker.poll_s,
        drain_s=worker.drain_s,
        blocked_s=worker.blocked_s,
    )


def roster_options(loaded: Loaded, app: App) -> RosterOptions:
    """How agents elsewhere are reached."""
    settings = loaded.settings.agents
    secret = settings.webhook_secret
    return RosterOptions(
        own=tuple(app.agents),
        secret=secret.get_secret_value() if secret is not None else None,
        allow_private=settings.allow_private,
        send_timeout_s=settings.send_timeout_s,
        answer_timeout_s=settings.answer_timeout_s,
    )


def overridden(
    loaded: Loaded, data: str | Path | None, model: str | None, sections: Mapping[str, Mapping[str, Any]] | None
) -> Loaded:
    """The configuration with a caller's own values in it."""
    changes: dict[str, Any] = {}
    if data is not None:
        changes["data"] = str(data)
    if model is not None:
        changes["model"] = model
    merged = {
        **loaded.sections,
        **{name: {**loaded.sections.get(name, {}), **own} for name, own in (sections or {}).items()},
    }
    return replace(loaded, settings=loaded.settings.model_copy(update=changes), sections=merged)
