"""The configuration of one process as JSON, for another process on the same machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opspawn.config.loaded import Loaded, Section, Text
from opspawn.config.settings import Settings

#: Marks a text whose type the field that takes it decides.
_TEXT = "$text"


def loaded_to_json(loaded: Loaded) -> dict[str, Any]:
    """Return a configuration as JSON. It holds whatever secrets the sections hold: hand it over by a pipe."""
    return {
        "settings": loaded.settings.model_dump(mode="json"),
        "sources": dict(loaded.sources),
        "sections": {name: _section_to_json(section, loaded) for name, section in loaded.sections.items()},
        "agents": {name: _section_to_json(section, loaded) for name, section in loaded.agents.items()},
        "file": str(loaded.file) if loaded.file is not None else None,
        "folder": str(loaded.folder),
    }


def loaded_from_json(data: dict[str, Any]) -> Loaded:
    """Return the configuration again."""
    return Loaded(
        Settings.model_validate(data["settings"]),
        data["sources"],
        {name: _section_from_json(one) for name, one in data["sections"].items()},
        {name: _section_from_json(one) for name, one in data["agents"].items()},
        Path(data["file"]) if data["file"] is not None else None,
        Path(data["folder"]),
    )


def _section_to_json(section: Mapping[str, Any], loaded: Loaded) -> dict[str, Any]:
    known = section if isinstance(section, Section) else None
    return {
        "values": _packed(dict(section)),
        "sources": dict(known.sources) if known is not None else {},
        "folder": str(known.folder) if known is not None else str(loaded.folder),
        "file": known.file if known is not None else "",
    }


def _section_from_json(data: dict[str, Any]) -> Section:
    return Section(_unpacked(data["values"]), sources=data["sources"], folder=Path(data["folder"]), file=data["file"])


def _packed(value: Any) -> Any:
    if isinstance(value, Text):
        return {_TEXT: str(value)}
    if isinstance(value, dict):
        return {key: _packed(one) for key, one in value.items()}
    return [_packed(one) for one in value] if isinstance(value, list) else value


def _unpacked(value: Any) -> Any:
    if isinstance(value, dict):
        return Text(value[_TEXT]) if set(value) == {_TEXT} else {key: _unpacked(one) for key, one in value.items()}
    return [_unpacked(one) for one in value] if isinstance(value, list) else value
