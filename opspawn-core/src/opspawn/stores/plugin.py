"""Registers the built-in store, through the same door as everybody else's."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from opspawn.contracts.plugins import PluginConfig, StorePlugin
from opspawn.contracts.store import Store
from opspawn.hookspecs import hookimpl

OPSPAWN_PLUGIN_API = ">=1,<2"


class SqliteConfig(PluginConfig):
    """The section `[plugins.sqlite]`."""

    path: str | None = Field(
        default=None,
        min_length=1,
        description='The database file; default "opspawn.db" in the data folder. ":memory:" keeps nothing.',
    )
    synchronous: Literal["full", "normal"] = Field(
        default="full",
        description='"full" keeps every commit through a power failure; "normal" is faster and may lose the last ones.',
    )
    busy_timeout_s: float = Field(default=30.0, ge=0, description="Seconds to wait while another process writes.")


async def open_store(section: Any, data: str) -> Store:
    """Open the store of a section. Raises: StoreUnusable."""
    from opspawn.stores.sqlite import open_sqlite

    config = section if isinstance(section, SqliteConfig) else SqliteConfig.model_validate(section or {})
    path = config.path or str(Path(data) / "opspawn.db")
    return await open_sqlite(path, synchronous=config.synchronous, busy_timeout_s=config.busy_timeout_s)


@hookimpl
def opspawn_stores() -> Iterable[StorePlugin]:
    """The embedded store, `store = "sqlite"`."""
    yield StorePlugin("sqlite", open_store, SqliteConfig, "One SQLite file: nothing else to install.")
