"""Finds, reads, merges and checks the configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opspawn.config.checks import build, unknown_key
from opspawn.config.environment import read_environment
from opspawn.config.file import FILE, read_file
from opspawn.config.loaded import DEFAULT, Loaded, Section, fold
from opspawn.config.settings import PluginSettings, Settings
from opspawn.errors import ConfigError


def load_settings(
    path: str | Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    options: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
) -> Loaded:
    """Return the configuration: `opspawn.toml`, over it the environment, over that the command line.

    Args:
        path: the file; by default that of OPSPAWN_CONFIG, else `opspawn.toml` in `cwd`, which need not exist.
        environ: the variables; by default those of the process.
        overrides: dotted key ("worker.slots", "plugins.rest.port") to value; None is an option that was not given.
        options: dotted key to the option's name, for messages; by default "--" and the last part of the key.
        cwd: the current folder, where relative paths of variables and options start.

    Raises:
        ConfigError: one line that names the file, variable or option, the key, and the remedy.
    """
    environ = os.environ if environ is None else environ
    cwd = Path(cwd or Path.cwd()).absolute()
    draft = _Draft()
    file = _find(path, environ, cwd)
    folder = file.parent if file else cwd
    name = str(path or environ.get("OPSPAWN_CONFIG") or FILE) if file else ""
    if file:
        for key, value in read_file(file, name, environ):
            draft.put(key, value, name)
    for key, value, variable in read_environment(environ):
        draft.put(key, value, variable)
    for dotted, value in (overrides or {}).items():
        if value is not None:
            draft.put(tuple(dotted.split(".")), value, (options or {}).get(dotted) or _option(dotted))
    return draft.finish(name, file, folder, cwd)


class _Draft:
    """The merged values so far, by path, each with its origin; a later value replaces an earlier one."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, ...], Any] = {}
        self._sources: dict[str, str] = {}

    def put(self, key: tuple[str, ...], value: Any, origin: str) -> None:
        key = self._spelt(key)
        if key == ("plugins", "block", "+"):
            key = ("plugins", "block")
            before = self._values.get(key)
            value = [*(before if isinstance(before, list) else []), *value]
        for old in [old for old in self._values if old[: len(key)] == key or key[: len(old)] == old]:
            del self._values[old]
            del self._sources[".".join(old)]
        self._values[key] = value
        self._sources[".".join(key)] = origin

    def _spelt(self, key: tuple[str, ...]) -> tuple[str, ...]:
        """A key of a plugin's section, with the section's name as it was spelt first: variables have no dashes."""
        if len(key) < 3 or key[0] != "plugins":
            return key
        known = (
            old[1] for old in self._values if len(old) > 1 and old[0] == "plugins" and fold(old[1]) == fold(key[1])
        )
        return (key[0], next(known, key[1]), *key[2:])

    def finish(self, name: str, file: Path | None, folder: Path, cwd: Path) -> Loaded:
        tree = _tree(self._values)
        sections = self._take_sections(tree, folder, name)
        agents = self._take_agents(tree, folder, name)
        settings = build(Settings, tree, origin=lambda key: self._sources.get(key, name))
        start = folder if self._sources.get("data", name) == name else cwd
        settings = settings.model_copy(update={"data": str(start / Path(settings.data).expanduser())})
        sources = {key: self._sources.get(key, DEFAULT) for key in _leaves(settings.model_dump())}
        sources |= {
            key: origin
            for key, origin in self._sources.items()
            if (key.startswith("plugins.") and key.split(".")[1] in sections)
            or (key.startswith("agents.") and key.split(".")[1] in agents)
        }
        return Loaded(settings, sources, sections, agents, file, folder)

    def _take_agents(self, tree: dict[str, Any], folder: Path, file: str) -> dict[str, Section]:
        """The tables `[agents.NAME]`, which stand among the settings of `[agents]`."""
        table = tree.get("agents")
        if not isinstance(table, dict):
            return {}
        names = [name for name, value in table.items() if isinstance(value, dict)]
        return {name: self._section(table.pop(name), f"agents.{name}", folder, file) for name in names}

    def _section(self, values: dict[str, Any], prefix: str, folder: Path, file: str) -> Section:
        own = {
            key.removeprefix(f"{prefix}."): origin
            for key, origin in self._sources.items()
            if key.startswith(f"{prefix}.")
        }
        return Section(values, sources=own, folder=folder, file=file)

    def _take_sections(self, tree: dict[str, Any], folder: Path, file: str) -> dict[str, Section]:
        plugins = tree.get("plugins")
        if not isinstance(plugins, dict):
            return {}
        sections = {}
        for name in [name for name in plugins if name not in PluginSettings.model_fields]:
            values, prefix = plugins.pop(name), f"plugins.{name}"
            if not isinstance(values, dict):
                raise unknown_key(prefix, self._sources.get(prefix, file), PluginSettings.model_fields)
            sections[name] = self._section(values, prefix, folder, file)
        return sections


def _find(path: str | Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    asked = path or environ.get("OPSPAWN_CONFIG")
    file = cwd / Path(asked or FILE).expanduser()
    if file.is_file():
        return file
    if asked is None or asked == "":
        if file.is_dir():
            raise ConfigError(
                f"{file} is a folder, not a file.", remedy="Rename it: this name belongs to the configuration."
            )
        return None
    where = "--config" if path else "OPSPAWN_CONFIG"
    raise ConfigError(
        f"{where}: there is no file {str(asked)!r}.", remedy=f"Name an existing file, or leave {where} out."
    )


def _option(dotted: str) -> str:
    return "--" + dotted.rpartition(".")[2].replace("_", "-")


def _tree(values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in values.items():
        table = tree
        for part in key[:-1]:
            table = table.setdefault(part, {})
        table[key[-1]] = value
    return tree


def _leaves(table: Mapping[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for key, value in table.items():
        found += _leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [f"{prefix}{key}"]
    return found
