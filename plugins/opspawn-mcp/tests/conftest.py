"""Servers of our own, and the fleets that they are in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from opspawn_mcp import stdio
from opspawn_mcp.fleet import Fleet

from ._plain import Plain, config_of

MakeFleet = Callable[..., Fleet]


@pytest.fixture
async def fleet_of(tmp_path: Path) -> AsyncIterator[MakeFleet]:
    """Makes fleets of plain servers, and of other settings by name; each is closed at the end."""
    async with AsyncExitStack() as stack:

        def make(*servers: Plain, others: dict[str, dict[str, Any]] | None = None, **settings: Any) -> Fleet:
            tables = {one.name: one.settings(**settings) for one in servers}
            fleet = Fleet(config_of(tmp_path, {**tables, **(others or {})}))
            stack.push_async_callback(fleet.aclose)
            return fleet

        yield make


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that do not end by themselves are told so sooner than usual."""
    monkeypatch.setattr(stdio, "_END_S", 0.4)


@pytest.fixture
def plain(tmp_path: Path) -> Callable[..., Plain]:
    """Makes plain servers."""
    return lambda name="plain", **state: Plain(tmp_path, name, **state)
