"""What became of each installed plugin, and which distributions bring well-known names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Any, Literal

Status = Literal["loaded", "blocked", "failed", "clash"]

CORE = "opspawn-core"

#: What to install for a name that is not there, by kind and name.
INSTALL: dict[tuple[str, str], str] = {
    ("planner", "react"): "opspawn-planner-react",
    ("model", "openai"): "opspawn-model-openai",
    ("tool", "mcp"): "opspawn-mcp",
    ("command", "mcp"): "opspawn-mcp",
}


@dataclass(frozen=True, slots=True)
class PluginStatus:
    """One installed plugin, as `opspawn plugins list` tells of it.

    Attributes:
        name: the name of its entry point. distribution, version: the package that brings it. module: what it imports.
        status: `loaded`; `blocked` (never imported); `failed`; `clash` (a record has kind and name of another's).
        gives: kind to the names of its records; empty unless imported.
        error: why it is not loaded, in one line.
        builtin: part of the core.
    """

    name: str
    distribution: str
    version: str
    module: str
    status: Status
    gives: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    error: str | None = None
    builtin: bool = False


@dataclass
class Found:
    """An entry point on its way through the loader."""

    entry: EntryPoint
    distribution: str
    version: str
    status: Status = "loaded"
    error: str | None = None
    records: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def builtin(self) -> bool:
        return normal(self.distribution) == CORE

    def is_named(self, names: set[str]) -> bool:
        """Whether one of the (normal) names is that of the distribution or of the entry point."""
        return normal(self.distribution) in names or normal(self.name) in names

    def report(self) -> PluginStatus:
        kinds = dict.fromkeys(kind for kind, _ in self.records)
        gives = {kind: tuple(record.name for own, record in self.records if own == kind) for kind in kinds}
        return PluginStatus(
            self.name, self.distribution, self.version, self.entry.value, self.status, gives, self.error, self.builtin
        )


def normal(name: str) -> str:
    """A distribution's name in the one spelling of all its spellings."""
    return re.sub(r"[-_.]+", "-", name).lower()
