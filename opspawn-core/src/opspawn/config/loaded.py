"""What loading gives: the settings, and where each value came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opspawn.config.settings import Settings

#: The origin of a value that nobody gave.
DEFAULT = "default"


class Text(str):
    """A string whose type is not known yet, because it came from a variable: the field that takes it decides."""

    __slots__ = ()


class Section(dict[str, Any]):
    """A table `[plugins.NAME]` or `[agents.NAME]`, not yet checked, that remembers where its values came from.

    Attributes:
        sources: origin by dotted key within the section.
        folder: where relative paths of the configuration file start.
        file: the configuration file as the user wrote it, e.g. "opspawn.toml"; empty if there is none.
    """

    def __init__(self, values: Mapping[str, Any], *, sources: Mapping[str, str], folder: Path, file: str) -> None:
        super().__init__(values)
        self.sources = dict(sources)
        self.folder = folder
        self.file = file


@dataclass(frozen=True)
class Loaded:
    """The configuration of one process.

    Attributes:
        settings: the checked settings of the core; `data` is an absolute path.
        sources: where each value came from, by dotted key ("worker.slots", "plugins.openai.base_url"): the name of the
            file, of the environment variable or of the option, or "default".
        sections: the tables of plugins by name, unchecked; `Plugins.section` checks one.
        agents: the tables `[agents.NAME]`, unchecked, by name.
        file: the configuration file, if there is one. folder: its folder, else the current one.
    """

    settings: Settings
    sources: Mapping[str, str] = field(default_factory=dict)
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    agents: Mapping[str, Section] = field(default_factory=dict)
    file: Path | None = None
    folder: Path = field(default_factory=Path.cwd)


def fold(name: str) -> str:
    """A name as variables can express it: lower case, dashes as underscores."""
    return name.replace("-", "_").lower()
