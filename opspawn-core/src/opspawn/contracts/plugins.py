"""The named records that hooks return. Behaviour lives on what their factories make."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from opspawn.contracts.listener import Listener
from opspawn.contracts.memory import Embedder, Memory
from opspawn.contracts.model import ModelProvider
from opspawn.contracts.planner import Planner
from opspawn.contracts.policy import Decider
from opspawn.contracts.sandbox import SandboxRunner
from opspawn.contracts.store import Store
from opspawn.contracts.tool import Tool, ToolSource
from opspawn.contracts.transport import Host, Transport
from opspawn.contracts.waker import Waker

#: The version of the plugin API that this core offers. A plugin module may declare `OPSPAWN_PLUGIN_API = ">=1,<2"`.
PLUGIN_API = 1


class PluginConfig(BaseModel):
    """The base of every plugin's section `[plugins.NAME]`: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


@dataclass(frozen=True, slots=True)
class ModelPlugin:
    """A model provider; users write `model = "NAME:model"`.

    `open` imports the driver and makes the provider, once per process. `network` says whether it reaches one; such a
    provider is refused where `network_models` is false.
    """

    name: str
    open: Callable[[Any], ModelProvider]
    config: type[PluginConfig] = PluginConfig
    help: str = ""
    network: bool = True


@dataclass(frozen=True, slots=True)
class PlannerPlugin:
    """A planner; users write `planner="NAME"`. `open` makes the planner, once per process."""

    name: str
    open: Callable[[Any], Planner]
    config: type[PluginConfig] = PluginConfig
    help: str = ""


@dataclass(frozen=True, slots=True)
class ToolPlugin:
    """A tool; users write `tools=["NAME"]`, where NAME is that of the tool which `open` makes."""

    name: str
    open: Callable[[Any], Tool]
    config: type[PluginConfig] = PluginConfig
    help: str = ""


@dataclass(frozen=True, slots=True)
class ToolSourcePlugin:
    """Tools that come and go; users write `tools=["NAME"]`.

    `open` makes the source, once per process. If it has an `aclose`, that is awaited when the process ends.
    """

    name: str
    open: Callable[[Any], ToolSource]
    config: type[PluginConfig] = PluginConfig
    help: str = ""


@dataclass(frozen=True, slots=True)
class SandboxPlugin:
    """A place where tools run; users write `sandbox="NAME"`. `open` makes it, once per process."""

    name: str
    open: Callable[[Any], SandboxRunner]
    config: type[PluginConfig] = PluginConfig
    help: str = ""


@dataclass(frozen=True, slots=True)
class PolicyPlugin:
    """A policy; users write `use = ["NAME"]` in `[policy]`, or `policies=["NAME"]` for one agent. `open` makes it, once
    per process.
    """

    name: str
    open: Callable[[Any], Decider]
    config: type[PluginConfig] = PluginConfig
    help: str = ""


@dataclass(frozen=True, slots=True)
class StorePlugin:
    """A store; users write `store = "NAME"`. `open` gets the section and the folder for data, and gives an open store.

    `nothing_yet` gets the same, and says what is missing while no store has been made there, so that commands which
    only look do not make an empty one; None, from it or in its place: there is one, or nobody can tell.

    `from_address` gives the keys of the section that an address such as "sqlite:///var/opspawn.db" means, and None for
    one that is not this store's; `opspawn store copy` takes such addresses. A key with an empty value
    is one that must not count beside the address.

    Raises (from `open`): StoreUnusable, with the remedy.
    """

    name: str
    open: Callable[[Any, str], Awaitable[Store]]
    config: type[PluginConfig] = PluginConfig
    help: str = ""
    nothing_yet: Callable[[Any, str], str | None] | None = None
    from_address: Callable[[str], dict[str, Any] | None] | None = None


@dataclass(frozen=True, slots=True)
class WakerPlugin:
    """A waker; users write `waker = "NAME"`.

    `beside` gets the waker's section and that of the configured store, and gives the section with which to open: so
    that a waker which shares the server of the store need not be told of it twice.
    """

    name: str
    open: Callable[[Any], Awaitable[Waker]]
    config: type[PluginConfig] = PluginConfig
    help: str = ""
    beside: Callable[[Any, Any], Any] | None = None


@dataclass(frozen=True, slots=True)
class TransportPlugin:
    """A way in; users write `transports = ["NAME"]`. `open` imports what it needs; nothing of it is imported before."""

    name: str
    open: Callable[[Host, Any], Transport]
    config: type[PluginConfig] = PluginConfig
    help: str = ""


@dataclass(frozen=True, slots=True)
class ListenerPlugin:
    """Somebody who hears every event; users write `listeners = ["NAME"]`. `open` makes it, once per process, before the
    store is opened.
    """

    name: str
    open: Callable[[Any], Listener]
    config: type[PluginConfig] = PluginConfig
    help: str = ""


@dataclass(frozen=True, slots=True)
class MemoryPlugin:
    """A long-term memory; users write `memory = "NAME"`.

    `open` gets the section, the folder for data, and the embedder if one is configured, which is not its to close.
    `nothing_yet` is as for `StorePlugin`.

    Raises (from `open`): MemoryUnusable, with the remedy.
    """

    name: str
    open: Callable[[Any, str, Embedder | None], Awaitable[Memory]]
    config: type[PluginConfig] = PluginConfig
    help: str = ""
    nothing_yet: Callable[[Any, str], str | None] | None = None


@dataclass(frozen=True, slots=True)
class EmbedderPlugin:
    """Makes vectors of texts; users write `embedder = "NAME:MODEL"`.

    `open` gets the section and the model, imports the driver and makes the embedder, once per process. `network` says
    whether it reaches one; such an embedder is refused where `network_models` is false.
    """

    name: str
    open: Callable[[Any, str], Embedder]
    config: type[PluginConfig] = PluginConfig
    help: str = ""
    network: bool = True


@dataclass(frozen=True, slots=True)
class CommandPlugin:
    """A command, or a group of commands, of the command line; users type `opspawn NAME`.

    `open` imports the click command, when it is called or its help is asked for; `opspawn.cli` has what commands share.
    """

    name: str
    open: Callable[[], Any]
    config: type[PluginConfig] = PluginConfig
    help: str = ""


PluginRecord = (
    ModelPlugin
    | PlannerPlugin
    | ToolPlugin
    | ToolSourcePlugin
    | SandboxPlugin
    | PolicyPlugin
    | StorePlugin
    | WakerPlugin
    | TransportPlugin
    | ListenerPlugin
    | MemoryPlugin
    | EmbedderPlugin
    | CommandPlugin
)
