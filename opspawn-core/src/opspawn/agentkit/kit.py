"""`Kit`: what agents need from outside them (models, planners, tools by name), found in plugins and opened once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, runtime_checkable

from opspawn.agentkit.bound import BoundModel, WrapsModels
from opspawn.agentkit.deciding import Policies, as_decider
from opspawn.agentkit.memories import Memories
from opspawn.agentkit.offline import refuse_if_forbidden
from opspawn.agentkit.policy import Policy, Rule
from opspawn.agentkit.rates import Rate, Rates
from opspawn.contracts.model import ModelProvider
from opspawn.contracts.planner import Planner
from opspawn.contracts.plugins import ModelPlugin, PlannerPlugin, ToolPlugin
from opspawn.contracts.policy import Decider
from opspawn.contracts.sandbox import SandboxRunner
from opspawn.contracts.tool import SelectsTools, Tool, ToolSource
from opspawn.errors import ConfigError, PluginError

if TYPE_CHECKING:
    from opspawn.config import Settings
    from opspawn.config.settings import PolicySettings
    from opspawn.plugins import Plugins

T = TypeVar("T")


@runtime_checkable
class ChecksModels(Protocol):
    """A model provider that can tell before the first call that it has no such model: a file is missing, say."""

    def check(self, model: str) -> None:
        """Return when `model` can be asked. Raises: ConfigError."""
        ...


class Kit:
    """Plugins and settings, resolved: each provider, planner and tool is opened when first asked for, and once.

    Belongs to one event loop, since providers keep connections. Does not check whether a vendor knows a model: only a
    call does.
    """

    def __init__(
        self,
        plugins: Plugins,
        *,
        model: str | None = None,
        sections: Mapping[str, Mapping[str, Any]] | None = None,
        root: Path | None = None,
        network_models: bool = True,
        rates: Rates | None = None,
        policy: PolicySettings | None = None,
        memory: str = "sqlite",
        embedder: str | None = None,
        data: str | None = None,
    ) -> None:
        """Take what `load` would find.

        Args:
            model: the model of agents that name none, as "PROVIDER:MODEL".
            sections: the `[plugins.NAME]` tables of the configuration.
            root: the folder of opspawn.toml; the current one by default. A plugin whose section has a field `root` gets
                it.
            network_models: whether model providers that reach a network may be opened.
            rates: how often models may be asked.
            policy: what decides on the calls of all runs.
            memory, embedder: the long-term memory, and what makes vectors for it, as "NAME:MODEL".
            data: the folder for local files; by default ".opspawn" in `root`.

        Raises: ConfigError: a rule of the policy is wrong, or a policy plugin that it names is not to be had.
        """
        self._plugins = plugins
        self.rates = rates or Rates()
        self._model = model
        self._sections = sections or {}
        self._root = root or Path.cwd()
        self._network_models = network_models
        self._providers: dict[str, ModelProvider] = {}
        self._planners: dict[str, Planner] = {}
        self._tools: dict[str, Tool | ToolSource] = {}
        self._sandboxes: dict[str, SandboxRunner] = {}
        self._deciders: dict[str, Decider] = {}
        #: The long-term memory.
        self.memories = Memories(
            plugins,
            self._sections,
            memory=memory,
            embedder=embedder,
            data=data or str(self._root / ".opspawn"),
            network_models=network_models,
        )
        #: What decides on the calls of every run.
        self.policies = Policies() if policy is None else self._configured(policy)

    @classmethod
    def load(cls) -> Kit:
        """A kit from the current folder's opspawn.toml, the environment and the installed plugins.

        Raises: ConfigError: the configuration is wrong, or a plugin that it names cannot be loaded.
        """
        from opspawn.config import load_settings
        from opspawn.plugins import Plugins

        loaded = load_settings()
        settings = loaded.settings
        plugins = Plugins.load(allow=settings.plugins_allow, block=settings.plugins_block)
        plugins.check(loaded.sections)
        return cls(
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

    def model(self, spec: str | None, *, agent: str = "", settings: Mapping[str, Any] | None = None) -> BoundModel:
        """The model for "PROVIDER:MODEL", or for None the configured one; `agent` is whom an error names.

        Raises: ConfigError: no model is set, the provider is not installed, or it cannot be opened.
        """
        chosen = spec or self._model
        if not chosen:
            raise ConfigError(
                f"No model is set for the agent {agent!r}." if agent else "No model is set.",
                remedy='Give it model="openai:gpt-5", or set OPSPAWN_MODEL, or model in opspawn.toml.',
            )
        prefix, colon, name = chosen.partition(":")
        if not (colon and prefix and name):
            raise ConfigError(
                f"The model {chosen!r} names no provider.",
                remedy=f"Write PROVIDER:MODEL, e.g. openai:{name or prefix}.",
            )
        record = cast(ModelPlugin, self._plugins.get("model", prefix))
        if record.network:
            refuse_if_forbidden(prefix, allowed=self._network_models)
        if prefix not in self._providers:
            self._providers[prefix] = self._open(record)
        provider = self._providers[prefix]
        if isinstance(provider, WrapsModels):
            wrapped = provider.wrap(name, self.model)
            return replace(wrapped, settings={**wrapped.settings, **(settings or {})})
        if isinstance(provider, ChecksModels):
            provider.check(name)
        return BoundModel(provider, name, dict(settings or {}), chosen)

    def planner(self, name: str, settings: Mapping[str, Any] | None = None) -> Planner:
        """The planner of that name; `settings` count before those of its section `[plugins.NAME]`.

        Raises: ConfigError: it is not installed, cannot be opened, or has no such settings.
        """
        record = cast(PlannerPlugin, self._plugins.get("planner", name))
        if settings:
            return cast(Planner, self._open(record, settings))
        if name not in self._planners:
            self._planners[name] = self._open(record)
        return self._planners[name]

    def tool(self, name: str) -> Tool:
        """The tool of that name. Raises: ConfigError when it is not installed or cannot be opened, or gives many."""
        found = self.tool_or_source(name)
        if not hasattr(found, "call"):
            raise ConfigError(f"{name!r} is a source of tools, which only agents can use.")
        return cast(Tool, found)

    def offers_tool(self, name: str) -> bool:
        """Whether a plugin has a tool of that name."""
        return any(isinstance(one, ToolPlugin) and one.name == name for one in self._plugins.records("tool"))

    def tool_or_source(self, name: str) -> Tool | ToolSource:
        """The tool, or source of tools, of that name, or the part of a source: "NAME:PART".

        Raises: ConfigError: it is not installed, cannot be opened, or has no such part.
        """
        base, colon, part = name.partition(":")
        if colon:
            source = self.tool_or_source(base)
            if not isinstance(source, SelectsTools):
                raise ConfigError(f"{name!r} names a part of the tool {base!r}, which has none.")
            return source.select(part)
        if name not in self._tools:
            record = self._plugins.get("tool", name)
            opened = self._open(record)
            if isinstance(record, ToolPlugin) and opened.name != name:
                raise PluginError(f"The plugin of the tool {name!r} opened one that is called {opened.name!r}.")
            self._tools[name] = opened
        return self._tools[name]

    def sandbox(self, name: str) -> SandboxRunner:
        """The sandbox of that name. Raises: ConfigError when it is not installed or cannot be opened."""
        if name not in self._sandboxes:
            self._sandboxes[name] = self._open(self._plugins.get("sandbox", name))
        return self._sandboxes[name]

    def policy(self, name: str) -> Decider:
        """The policy of that name. Raises: ConfigError when it is not installed or cannot be opened."""
        if name not in self._deciders:
            self._deciders[name] = as_decider(self._open(self._plugins.get("policy", name)))
        return self._deciders[name]

    def _configured(self, policy: PolicySettings) -> Policies:
        rules = [_rule(number, rule.model_dump(exclude_unset=True)) for number, rule in enumerate(policy.rules, 1)]
        told = {"read": policy.read, "idempotent": policy.idempotent, "once": policy.once}
        defaults: Any = {effect: decision for effect, decision in told.items() if decision != "allow"}
        own = [Policy(rules, defaults=defaults, name="opspawn.toml")] if rules or defaults else []
        return Policies([*own, *(self.policy(name) for name in policy.use)])

    async def aclose(self) -> None:
        """Close providers, sources and sandboxes. Idempotent; the kit opens them anew when it is asked again."""
        await self.memories.aclose()
        for opened in (self._providers, self._sandboxes, self._tools):
            while opened:
                _, one = opened.popitem()
                if hasattr(one, "aclose"):
                    await one.aclose()

    def _open(self, record: Any, settings: Mapping[str, Any] | None = None) -> Any:
        section = self._plugins.section(record, self._sections)
        if settings:
            from opspawn.config.checks import build

            given = {key: getattr(section, key) for key in section.model_fields_set} | dict(settings)
            section = build(record.config, given, prefix="planner_settings.", origin=lambda _: record.name)
        if "root" in type(section).model_fields and "root" not in section.model_fields_set:
            section = section.model_copy(update={"root": self._root})
        try:
            return record.open(section)
        except ConfigError:
            raise
        except Exception as error:
            raise PluginError(
                f"The plugin {record.name!r} cannot be opened: {type(error).__name__}: {error}"
            ) from error


def _rule(number: int, fields: dict[str, Any]) -> Rule:
    try:
        return Rule(**fields)
    except ConfigError as error:
        raise ConfigError(f"Rule {number} of [[policy.rules]]: {error.message}", remedy=error.remedy) from error


def rates_of(settings: Settings) -> Rates:
    """The rates that `[limits.NAME]` tables say."""
    return Rates(
        {
            name: Rate(limit.requests_per_minute, limit.tokens_per_minute, limit.burst)
            for name, limit in settings.limits.items()
        }
    )
