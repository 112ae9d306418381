"""Where agents are declared without Python: tables of the configuration, and files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opspawn.agentkit.declared import Declaration
from opspawn.config import Loaded
from opspawn.config.loaded import Section
from opspawn.errors import AppError, InvalidInput

_KEYS = "Write its keys: model, planner, tools, instructions, ...; 'opspawn config schema --agent' describes them."


def agents_of(loaded: Loaded) -> dict[str, Declaration]:
    """The agents of the tables `[agents.NAME]`."""
    return {name: _table(name, section) for name, section in loaded.agents.items()}


def _table(name: str, section: Section) -> Declaration:
    prefix = f"agents.{name}."
    where = section.file or next(iter(section.sources.values()), "the configuration")

    def origin(key: str) -> str:
        return section.sources.get(key.removeprefix(prefix), where)

    return Declaration(section, where, section.folder, prefix, origin)


def agent_files(patterns: Sequence[str | Path], root: Path) -> dict[str, Declaration]:
    """The agents of files of YAML or JSON; an agent's name is its file's, unless `name` says otherwise.

    Raises: AppError: no file fits, or two agents share a name. A file is not strict YAML or JSON.
        ConfigError: PyYAML is not installed.
    """
    found: dict[str, Declaration] = {}
    for pattern in patterns:
        paths = sorted(root.glob(str(pattern))) if not Path(pattern).is_absolute() else [Path(pattern)]
        if not paths or not all(path.is_file() for path in paths):
            raise AppError(
                f"App has {str(pattern)!r} among its agents, and there is no such file in {root}.",
                remedy='Make agents with Agent("name", ...), or name a YAML or JSON file that declares one.',
            )
        for path in paths:
            where = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
            name, declared = _read(path, where)
            if name in found:
                raise AppError(f"{where} declares the agent {name!r}, as {found[name].where} does.")
            found[name] = declared
    return found


def _read(path: Path, where: str) -> tuple[str, Declaration]:
    from opspawn.ops.workflows.reading import read_text

    try:
        data, lines = read_text(path.read_text("utf-8"), where)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise AppError(f"{where} cannot be read: {reason}.") from error
    except InvalidInput as error:
        empty = "is empty" in error.message
        raise AppError(error.message, remedy=_KEYS if empty else error.remedy) from error
    if not isinstance(data, dict):
        raise AppError(f"{where} holds no agent.", remedy=_KEYS)
    values: dict[str, Any] = dict(data)
    name = str(values.pop("name", path.stem))

    def origin(key: str) -> str:
        line = lines.get(tuple(key.split(".")))
        return f"{where}:{line}" if line else where

    return name, Declaration(values, where, path.parent, "", origin)
