"""May a tool be used at all? What is denied, not approved, or named after others is not, whatever the rules say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from opspawn.agentkit.matching import glob
from opspawn.contracts.tool import Effect
from opspawn_mcp.listing import Definition
from opspawn_mcp.pins import AllPins
from opspawn_mcp.settings import ServerConfig

Status = Literal["approved", "unpinned", "new", "changed", "shadows", "gone", "denied"]
#: With these a tool is offered and called.
USABLE = ("approved", "unpinned")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a tool stands. `why` says in words why it is not used; `definition` is what a model may be shown of it."""

    status: Status
    definition: Definition | None
    why: str = ""

    @property
    def usable(self) -> bool:
        """Whether it may be offered and called."""
        return self.status in USABLE


def standing(
    server: str, config: ServerConfig, tool: str, listed: Definition | None, pins: AllPins, *, known: bool
) -> Standing:
    """How a tool stands.

    Args:
        listed: what the server says of it, if it does.
        known: whether the server has been asked; if not, the approved definition counts until it was.
    """
    if matching(config.deny, tool):
        return Standing("denied", listed, "the configuration denies it (deny)")
    if config.allow and not matching(config.allow, tool):
        return Standing("denied", listed, "the configuration does not allow it (allow)")
    pin = pins.get(server, {}).get(tool)
    if known and listed is None:
        return Standing("gone", None, "the server does not have it")
    if (config.pin == "off" or pin is None) and (others := shadowed(server, tool, pins)):
        return Standing("shadows", listed, f"it has the name of a tool of {', '.join(others)}")
    if config.pin == "off":
        return Standing("unpinned", listed)
    if pin is None and listed is None:
        return Standing("new", None, "nobody has approved a tool of this name")
    if pin is None:
        return Standing("new", listed, "it is new, and nobody has approved it")
    if listed is not None and listed.digest != pin.digest:
        return Standing("changed", listed, "it has changed since it was approved")
    return Standing("approved", pin.definition)


def shadowed(server: str, tool: str, pins: AllPins) -> list[str]:
    """The other servers with an approved tool of this name, or whose tools this name pretends to be one of."""
    wanted = tool.casefold()
    return [
        other
        for other, tools in pins.items()
        if other != server
        and any(
            wanted in (name.casefold(), f"{other}__{name}".casefold(), f"{other}/{name}".casefold()) for name in tools
        )
    ]


def effect_of(config: ServerConfig, tool: str, definition: Definition | None) -> Effect:
    """What a call does to the world: as the operator says, then, if he trusts them, as the hints say; else "once"."""
    for pattern, effect in config.effects.items():
        if glob(pattern, tool):
            return effect
    if config.trust_hints and definition is not None:
        if definition.hints.get("readOnlyHint") is True:
            return "read"
        if definition.hints.get("idempotentHint") is True:
            return "idempotent"
    return "once"


def granted(config: ServerConfig, agent: str) -> bool:
    """Whether an agent may use a server."""
    return matching(config.agents, agent)


def matching(patterns: Iterable[str], name: str) -> bool:
    """Whether one of the globs fits."""
    return any(glob(pattern, name) for pattern in patterns)
