"""Approving: what of a server's tools awaits a look, and the pins that the look makes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from opspawn import details
from opspawn_mcp.diffs import difference, written
from opspawn_mcp.fleet import Member
from opspawn_mcp.listing import Definition
from opspawn_mcp.pins import Pin
from opspawn_mcp.standing import Status, shadowed


@dataclass(frozen=True, slots=True)
class Awaiting:
    """A tool that somebody has to look at. `text` is its definition, or what has changed in it."""

    tool: str
    status: Status
    definition: Definition | None
    text: str
    shadows: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As `opspawn mcp approve --json` tells it."""
        definition = None if self.definition is None else self.definition.to_json()
        told = {"tool": self.tool, "status": self.status, "definition": definition, "shadows": list(self.shadows)}
        return {**told, "text": self.text}


def awaiting(member: Member) -> list[Awaiting]:
    """The tools of a connected server that are new, have changed, or are gone though they were approved."""
    pins = member.pins.of(member.name)
    found: list[Awaiting] = []
    for name, definition in sorted(member.server.tools.items()):
        pin = pins.get(name)
        others = tuple(shadowed(member.name, name, member.pins.all()))
        if pin is None:
            found.append(Awaiting(name, "shadows" if others else "new", definition, written(definition), others))
        elif pin.digest != definition.digest:
            text = difference(pin.definition, definition)
            found.append(Awaiting(name, "changed", definition, text, tuple(set(others) - set(pin.shadows))))
    found += [Awaiting(name, "gone", None, "The server does not have it any more.") for name in _gone(member)]
    return found


def pin(member: Member, tools: list[Awaiting], by: str) -> None:
    """Approve these as they are, and drop the pins of those that are gone. Raises: ConfigError: not written."""
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    before = member.pins.of(member.name)
    made = {
        one.tool: Pin(
            one.definition.digest,
            one.definition,
            now,
            by,
            tuple(sorted({*one.shadows, *(before[one.tool].shadows if one.tool in before else ())})),
        )
        for one in tools
        if one.definition is not None
    }
    member.pins.put(member.name, made, drop=[one.tool for one in tools if one.definition is None])
    for one in tools:
        words = f"MCP tool {member.name}/{one.tool} was approved by {by}: it was {one.status}."
        details.info("{}", words, plugin="mcp", server=member.name, tool=one.tool, by=by)


def _gone(member: Member) -> list[str]:
    return sorted(set(member.pins.of(member.name)) - set(member.server.tools))
