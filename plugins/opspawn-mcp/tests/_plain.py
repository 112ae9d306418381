"""A little server of the older era, whose tools and vices a test sets while it runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from opspawn_mcp import McpConfig
from opspawn_mcp.approvals import awaiting, pin
from opspawn_mcp.fleet import Fleet

SCRIPT = Path(__file__).parent / "servers" / "plain.py"


class Plain:
    """One such server: its state, its settings, and what it was asked."""

    def __init__(self, folder: Path, name: str = "plain", **state: Any) -> None:
        self.name = name
        self.file = folder / f"{name}.json"
        self.change(**state)

    def change(self, **state: Any) -> None:
        """What it does from here on."""
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps(state))
        part.replace(self.file)

    def settings(self, **more: Any) -> dict[str, Any]:
        """Its table in the configuration."""
        started = {"command": sys.executable, "args": ["-I", "-S", str(SCRIPT), str(self.file)]}
        return {**started, "mode": "legacy", "connect_timeout_s": 20, **more}

    @property
    def asked(self) -> list[str]:
        """Each start, listing and call, in order."""
        calls = self.file.with_suffix(".calls")
        return calls.read_text().splitlines() if calls.exists() else []

    def calls(self) -> list[list[Any]]:
        """Name and arguments of each call."""
        return [json.loads(line) for line in self.asked if line.startswith("[")]


def config_of(folder: Path, servers: dict[str, dict[str, Any]]) -> McpConfig:
    """The section with these servers."""
    return McpConfig.model_validate({"servers": servers, "root": folder})


async def approve(fleet: Fleet, *names: str) -> None:
    """Pin all that these servers say now, by default all servers."""
    for name in names or fleet.members:
        member = fleet.member(name)
        await member.server.ready()
        pin(member, awaiting(member), "ann")
