"""Pins: the definitions of tools as somebody approved them, in a file that is kept with the code.

What a server says of a tool later must be the same, word by word; else the tool is held back until somebody has looked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opspawn.errors import ConfigError
from opspawn_mcp.listing import Definition

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Pin:
    """One approval. `shadows` are servers with a tool of the same name, which whoever approved it has accepted."""

    digest: str
    definition: Definition
    approved_at: str
    approved_by: str
    shadows: tuple[str, ...] = ()


#: By server and tool.
AllPins = Mapping[str, Mapping[str, Pin]]


class Pins:
    """The file of pins; read again when it has changed, so that an approval needs no restart."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int] | None = None
        self._pins: dict[str, dict[str, Pin]] = {}

    def of(self, server: str) -> Mapping[str, Pin]:
        """The pins of a server, by tool. Raises: ConfigError: the file cannot be read."""
        return self._now().get(server, {})

    def all(self) -> AllPins:
        """All pins; the same mapping until the file changes. Raises: ConfigError."""
        return self._now()

    @property
    def seen(self) -> AllPins:
        """All pins, as they were when the file was looked at last."""
        return self._pins

    def put(self, server: str, pins: Mapping[str, Pin], *, drop: Iterable[str] = ()) -> None:
        """Add pins of a server, or put them in the place of former ones, and write the file. Raises: ConfigError."""
        held = {name: dict(tools) for name, tools in self._now().items()}
        held[server] = {**held.get(server, {}), **pins}
        for name in drop:
            held[server].pop(name, None)
        self._write({name: tools for name, tools in held.items() if tools})

    def _now(self) -> dict[str, dict[str, Pin]]:
        try:
            stat = os.stat(self.path)
        except FileNotFoundError:
            self._seen = None
            if self._pins:
                self._pins = {}
            return self._pins
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be read: {error.strerror}.") from error
        seen = (stat.st_mtime_ns, stat.st_size)
        if seen != self._seen:
            self._pins = _read(self.path)
            self._seen = seen
        return self._pins

    def _write(self, pins: Mapping[str, Mapping[str, Pin]]) -> None:
        told = {
            name: {tool: _to_json(pin) for tool, pin in sorted(tools.items())} for name, tools in sorted(pins.items())
        }
        text = json.dumps({"version": _FORMAT, "servers": told}, ensure_ascii=False, indent=2)
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            part.write_text(text + "\n", "utf-8")
            os.replace(part, self.path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise ConfigError(f"{self.path} cannot be written: {error.strerror}.") from error
        self._seen = None


def _to_json(pin: Pin) -> dict[str, Any]:
    told: dict[str, Any] = {
        "digest": pin.digest,
        "approvedAt": pin.approved_at,
        "approvedBy": pin.approved_by,
        "definition": pin.definition.to_json(),
    }
    return {**told, "shadows": list(pin.shadows)} if pin.shadows else told


def _read(path: Path) -> dict[str, dict[str, Pin]]:
    try:
        data = json.loads(path.read_text("utf-8"))
        if data["version"] != _FORMAT:
            raise ConfigError(f"{path} is of format {data['version']!r}, and {_FORMAT} is read here.")
        found = {
            server: {name: _pin(name, pin) for name, pin in tools.items()} for server, tools in data["servers"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(
            f"{path} is no file of pins: {words}.", remedy="Restore it, or delete it and approve anew."
        ) from error
    for server, tools in found.items():
        for name, pin in tools.items():
            if pin.definition.digest != pin.digest or pin.definition.name != name:
                raise ConfigError(
                    f"{path}: the pin of {server}/{name} does not fit its digest: somebody has edited it.",
                    remedy=f"Restore the file, or remove the entry and run 'opspawn mcp approve {server}'.",
                )
    return found


def _pin(name: str, data: Mapping[str, Any]) -> Pin:
    return Pin(
        data["digest"],
        Definition(**data["definition"]),
        data["approvedAt"],
        data["approvedBy"],
        tuple(data.get("shadows", ())),
    )
