"""Registers the built-in memory, through the same door as everybody else's."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from opspawn.contracts.memory import Embedder, Memory
from opspawn.contracts.plugins import MemoryPlugin, PluginConfig
from opspawn.hookspecs import hookimpl

OPSPAWN_PLUGIN_API = ">=1,<2"


class SqliteMemoryConfig(PluginConfig):
    """The section `[plugins.sqlite]`, which it shares with the store of that name."""

    memory_path: str | None = Field(
        default=None,
        min_length=1,
        description='The file of the long-term memory; default "memory.db" in the data folder. ":memory:" keeps '
        "nothing.",
    )
    memory_busy_timeout_s: float = Field(
        default=30.0, ge=0, description="Seconds to wait while another process writes to the long-term memory."
    )


async def _open(section: Any, data: str, embedder: Embedder | None) -> Memory:
    from opspawn.memories.sqlite import open_memory

    return await open_memory(_file(section, data), embedder=embedder, busy_timeout_s=section.memory_busy_timeout_s)


def _file(section: SqliteMemoryConfig, data: str) -> str:
    return section.memory_path or str(Path(data) / "memory.db")


def _nothing_yet(section: SqliteMemoryConfig, data: str) -> str | None:
    """What is missing where nothing has been remembered yet; None with a file of its own, which is made."""
    if section.memory_path is not None or Path(_file(section, data)).exists():
        return None
    return f"Nothing is remembered in {data} yet."


@hookimpl
def opspawn_memories() -> Iterable[MemoryPlugin]:
    """The embedded memory, `memory = "sqlite"`."""
    yield MemoryPlugin(
        "sqlite",
        _open,
        SqliteMemoryConfig,
        "One SQLite file: found by words, and by vectors if there is an embedder.",
        _nothing_yet,
    )
