"""Every hook that a plugin may implement. A plugin is a module (or object) named by an entry point in group `opspawn`.

Rules for all hooks: they are synchronous, called once while plugins load, before any agent starts, and take no
arguments. Yield or return records; import drivers inside a record's `open`, so that listing plugins stays cheap. An
exception marks this plugin as failed, with its text in `opspawn plugins list`; the other plugins still load, unless the
configuration names the failed one. Two records of one kind with the same name are a clash: both distributions are
named, and neither is used.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from opspawn.contracts.plugins import (
    CommandPlugin,
    EmbedderPlugin,
    ListenerPlugin,
    MemoryPlugin,
    ModelPlugin,
    PlannerPlugin,
    PolicyPlugin,
    SandboxPlugin,
    StorePlugin,
    ToolPlugin,
    ToolSourcePlugin,
    TransportPlugin,
    WakerPlugin,
)

PROJECT = "opspawn"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def opspawn_models() -> Iterable[ModelPlugin]:
    """Offer model providers.

    A record's `name` is the prefix in `model = "NAME:model"`. `open(section)` is called once per process, when an agent
    first needs the provider, and returns a `ModelProvider`.
    """
    return ()


@hookspec
def opspawn_planners() -> Iterable[PlannerPlugin]:
    """Offer planners.

    A record's `name` is what users write as `planner="NAME"`. `open(section)` returns a `Planner`, which must keep no
    state
    between runs: one object serves all agents of the process.
    """
    return ()


@hookspec
def opspawn_tools() -> Iterable[ToolPlugin | ToolSourcePlugin]:
    """Offer tools, and sources of tools that come and go.

    A record's `name` is what users write in `tools=["NAME"]`. `open(section)` of a `ToolPlugin` returns a `Tool` of the
    same name, that of a `ToolSourcePlugin` a `ToolSource`, which is asked for its tools once per model call.
    """
    return ()


@hookspec
def opspawn_sandboxes() -> Iterable[SandboxPlugin]:
    """Offer sandboxes: places where tools made from functions run.

    A record's `name` is what users write as `sandbox="NAME"`, for a tool or an agent. `open(section)` is called once
    per process, when a tool first needs it, and returns a `SandboxRunner`.
    """
    return ()


@hookspec
def opspawn_policies() -> Iterable[PolicyPlugin]:
    """Offer policies, which decide before tool calls, model calls and dispatches whether they may happen.

    A record's `name` is what users write as `use = ["NAME"]` in `[policy]`, or as `policies=["NAME"]` for an agent; one
    that nobody names decides nothing. `open(section)` is called once per process and returns a `Decider`. The strictest
    of all that are in force counts.
    """
    return ()


@hookspec
def opspawn_stores() -> Iterable[StorePlugin]:
    """Offer durable stores.

    A record's `name` is what users write as `store = "NAME"`. `open(section, data)` is awaited once per process and
    returns an open `Store`; `data` is the folder for local files. Prove a store with `opspawn.testing.StoreContract`.
    """
    return ()


@hookspec
def opspawn_wakers() -> Iterable[WakerPlugin]:
    """Offer wakers.

    A record's `name` is what users write as `waker = "NAME"`. `open(section)` is awaited once per process.
    """
    return ()


@hookspec
def opspawn_transports() -> Iterable[TransportPlugin]:
    """Offer ways in.

    A record's `name` is what users write in `transports = ["NAME"]`. `open(host, section)` is called by `opspawn serve`
    for each configured transport, before the store is opened; `Transport.bind` then takes the address, and
    `Transport.start` serves it.

    One that speaks HTTP need not listen itself: with the methods of `opspawn.contracts.mounting.Mountable` it offers an
    ASGI application, which REST serves at a path of its own server where it is open, too. Neither knows the other.
    """
    return ()


@hookspec
def opspawn_listeners() -> Iterable[ListenerPlugin]:
    """Offer listeners, which hear of everything that happens: metrics, traces, webhooks.

    A record's `name` is what users write in `listeners = ["NAME"]`. `open(section)` is called once per process that
    works or serves, and returns a `Listener`; it lives in a thread of its own, and may be slow or fail without harm to
    any run.
    """
    return ()


@hookspec
def opspawn_memories() -> Iterable[MemoryPlugin]:
    """Offer long-term memories.

    A record's `name` is what users write as `memory = "NAME"`. `open(section, data, embedder)` is awaited once per
    process, when something is first to be remembered or looked up, and returns an open `Memory`. Prove a memory with
    `opspawn.testing.MemoryContract`.
    """
    return ()


@hookspec
def opspawn_embedders() -> Iterable[EmbedderPlugin]:
    """Offer embedders, which make vectors of texts.

    A record's `name` is the prefix in `embedder = "NAME:MODEL"`. `open(section, model)` is called once per process,
    when a memory first needs it, and returns an `Embedder`.
    """
    return ()


@hookspec
def opspawn_commands() -> Iterable[CommandPlugin]:
    """Offer commands for the command line.

    A record's `name` is what users type after `opspawn`; the core's own commands come first, and no plugin replaces
    one. `open()` returns a `click.Command`, once the command is called. `opspawn --help` imports no plugin, and so does
    not list them; `opspawn plugins list` does.
    """
    return ()
