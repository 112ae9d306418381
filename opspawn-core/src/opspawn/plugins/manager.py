"""`Plugins`: finds the installed plugins, loads those that are allowed, and gives their records by kind and name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from opspawn import hookspecs
from opspawn.config.checks import build
from opspawn.config.loaded import Section, fold
from opspawn.config.secrets import redact
from opspawn.contracts.plugins import PluginConfig, PluginRecord
from opspawn.errors import ConfigError, PluginError
from opspawn.plugins.importing import Faulty, load
from opspawn.plugins.kinds import KINDS, kind_of
from opspawn.plugins.status import INSTALL, Found, PluginStatus, normal

GROUP = "opspawn"


class _Manager(pluggy.PluginManager):
    """Looks for hooks in a module only where something can be called: pluggy looks long at each of its names."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        if isinstance(plugin, ModuleType) and not inspect.isroutine(vars(plugin).get(name)):
            return None
        return super().parse_hookimpl_opts(plugin, name)


class Plugins:
    """The plugins of one process. Made by `load` and handed on; there is no global one."""

    def __init__(self, found: Sequence[Found]) -> None:
        """Index what was found; two records of one kind and name make a clash."""
        self._found = list(found)
        self._records: dict[tuple[str, str], PluginRecord] = {}
        self._clashes: dict[tuple[str, str], list[Found]] = {}
        self._index()

    @classmethod
    def load(
        cls,
        *,
        allow: Sequence[str] | None = None,
        block: Sequence[str] = (),
        required: Iterable[tuple[str, str]] = (),
        quiet: bool = False,
    ) -> Plugins:
        """Find every entry point of group `opspawn`, drop what is not allowed unimported, and import the rest.

        One that fails is marked and logged as a warning, and the others still load. The core's own plugins come
        the same way; only `block` stops them.

        Args:
            allow: names of distributions or entry points; None allows all, an empty list only the built-ins.
            block: the same, never imported; wins over `allow`.
            required: kinds and names that must be there, e.g. ("store", "redis").
            quiet: no warnings; for commands that show the failures themselves.

        Raises: PluginError: one of `required` is not to be had.
        """
        manager = _Manager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        found = _entries()
        for item in found:
            item.error = _blocked(item, allow, block)
            if item.error:
                item.status = "blocked"
                continue
            try:
                load(item, manager)
            except Faulty as fault:
                item.status, item.error = "failed", redact(str(fault))
        plugins = cls(found)
        if not quiet:
            plugins._warn([*(allow or ()), *block])
        for kind, name in required:
            plugins.get(kind, name)
        return plugins

    def get(self, kind: str, name: str) -> PluginRecord:
        """The record of that kind ("model", "planner", "tool", "store", ...; see `KINDS`) and name.

        Raises: PluginError: it is missing (says what to install), blocked, failed (with its text), or offered twice.
        """
        record = self._records.get((kind, name))
        if record is None:
            raise self._missing(kind, name)
        return record

    def records(self, kind: str | None = None) -> list[PluginRecord]:
        """The usable records, of one kind or all, by name."""
        return [
            record
            for (own, _), record in sorted(self._records.items(), key=lambda item: item[0])
            if kind in (None, own)
        ]

    def section(self, record: Any, sections: Mapping[str, Mapping[str, Any]]) -> PluginConfig:
        """The table `[plugins.NAME]` of a record, checked; without one, the defaults.

        Relative paths in fields of type `Path` that came from opspawn.toml start at the folder of that file.

        Raises: ConfigError: an unknown key, a wrong type or a missing value, with file, key and remedy.
        """
        values: dict[str, Any] = {}
        prefix, file, sources, folder = f"plugins.{record.name}.", "", dict[str, str](), None
        for name, section in sections.items():
            if fold(name) == fold(record.name):
                values |= section
                if isinstance(section, Section):
                    sources, folder, file, prefix = section.sources, section.folder, section.file, f"plugins.{name}."
        foreign = self._other_keys(record)
        values = {key: value for key, value in values.items() if key not in foreign}
        start = len(prefix)
        config: PluginConfig = build(
            record.config, values, prefix=prefix, origin=lambda key: sources.get(key[start:], file)
        )
        if folder is None:
            return config
        moved = {
            key: folder / value.expanduser()
            for key, value in config
            if key in config.model_fields_set and isinstance(value, Path) and sources.get(key) == file
        }
        return config.model_copy(update=moved) if moved else config

    def check(self, sections: Mapping[str, Mapping[str, Any]]) -> None:
        """Check every section. Raises: ConfigError: one is wrong, or belongs to no plugin that is installed."""
        for name, section in sections.items():
            own = [record for record in self.records() if fold(record.name) == fold(name)]
            for record in own:
                self.section(record, sections)
            if not own and not any(fold(name) in (fold(item.name), fold(item.distribution)) for item in self._found):
                raise self._unknown_section(name, section)

    def report(self) -> list[PluginStatus]:
        """What became of each installed plugin: built-ins first, then by distribution and name."""
        return [item.report() for item in self._found]

    # -- inside ----------------------------------------------------------------------------------------------------

    def _index(self) -> None:
        givers: dict[tuple[str, str], list[tuple[Found, PluginRecord]]] = {}
        for item in self._found:
            for kind, record in item.records:
                givers.setdefault((kind, record.name), []).append((item, record))
        for key, given in givers.items():
            if len(given) == 1:
                self._records[key] = given[0][1]
                continue
            self._clashes[key] = [item for item, _ in given]
            for item, _ in given:
                item.status, item.error = "clash", str(self._clash(*key))

    def _clash(self, kind: str, name: str) -> PluginError:
        names = [item.distribution for item in self._clashes[kind, name]]
        return PluginError(
            f"The {kind} {name!r} is offered by {' and by '.join(names)}, so neither is used.",
            remedy=f'Uninstall one, or stop it with block = ["{names[-1]}"] under [plugins].',
        )

    def _missing(self, kind: str, name: str) -> PluginError:
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is no kind of plugin; kinds: {', '.join(KINDS)}")
        if (kind, name) in self._clashes:
            return self._clash(kind, name)
        package = INSTALL.get((kind, name))
        for item in self._found:
            if item.status in ("blocked", "failed") and (item.name == name or normal(item.distribution) == package):
                return _unavailable(kind, name, item)
        if package:
            return PluginError(f"The {kind} {name!r} is not installed.", remedy=f"Run: pip install {package}")
        known = [record.name for record in self.records(kind)]
        near = difflib.get_close_matches(name, known, n=1)
        remedy = f"Did you mean {near[0]!r}?" if near else f"Installed: {', '.join(known) or 'none'}."
        failed = [item.name for item in self._found if item.status == "failed"]
        if failed:
            remedy += f" Failed to load: {', '.join(failed)}; see 'opspawn plugins list'."
        return PluginError(f"There is no {kind} {name!r}.", remedy=remedy)

    def _unknown_section(self, name: str, section: Mapping[str, Any]) -> ConfigError:
        origin = next(iter(section.sources.values()), section.file) if isinstance(section, Section) else ""
        names = sorted({record.name for record in self.records()})
        near = difflib.get_close_matches(name, names, n=1)
        package = next((package for (_, own), package in INSTALL.items() if own == name), None)
        if package:
            remedy = f"Run: pip install {package}"
        else:
            remedy = f"Did you mean [plugins.{near[0]}]?" if near else f"Remove it; installed: {', '.join(names)}."
        return ConfigError(
            f"{f'{origin}: ' if origin else ''}[plugins.{name}] belongs to no installed plugin.", remedy=remedy
        )

    def _other_keys(self, record: Any) -> set[str]:
        """Keys that belong to records of other kinds with the same name: they share the section."""
        same = [
            own for own in self.records() if own.name == record.name and kind_of(type(own)) != kind_of(type(record))
        ]
        return {key for own in same for key in own.config.model_fields} - set(record.config.model_fields)

    def _warn(self, named: Sequence[str]) -> None:
        troubled = [item for item in self._found if item.status in ("failed", "clash")]
        absent = [name for name in named if not any(item.is_named({normal(name)}) for item in self._found)]
        if not troubled and not absent:
            return
        from loguru import logger

        for item in troubled:
            logger.bind(plugin=item.name, error_type="plugin").warning(
                "The plugin {} of {} is not usable: {}", item.name, item.distribution, item.error
            )
        for name in absent:
            logger.bind(plugin=name).warning(
                "No installed plugin is called {!r}, which plugins.allow or block names.", name
            )


def _entries() -> list[Found]:
    """Every entry point of the group, without importing anything: built-ins first, then by distribution and name."""
    found = []
    told: dict[int, tuple[str, str]] = {}  # by the identity of a distribution; the metadata take a millisecond to read
    for entry in entry_points(group=GROUP):
        if id(entry.dist) not in told:
            metadata: Any = entry.dist.metadata if entry.dist else {}
            told[id(entry.dist)] = (metadata.get("Name") or "unknown", metadata.get("Version") or "?")
        found.append(Found(entry, *told[id(entry.dist)]))
    return sorted(found, key=lambda item: (not item.builtin, normal(item.distribution), item.name))


def _blocked(item: Found, allow: Sequence[str] | None, block: Sequence[str]) -> str | None:
    if item.is_named({normal(name) for name in block}):
        return "plugins.block names it."
    if allow is None or item.builtin or item.is_named({normal(name) for name in allow}):
        return None
    return "plugins.allow does not name it." if allow else "Only built-in plugins are allowed."


def _unavailable(kind: str, name: str, item: Found) -> PluginError:
    package = f"{item.distribution} {item.version}"
    if item.status == "failed":
        return PluginError(
            f"The {kind} {name!r} should come from {package}, which cannot be loaded: {item.error}",
            remedy="Mend or reinstall it; see 'opspawn plugins list'.",
        )
    return PluginError(
        f"The {kind} {name!r} comes from {package}, which is blocked: {item.error}",
        remedy="Change allow or block under [plugins], or OPSPAWN_PLUGINS.",
    )
