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
MEMORY = ":memory:"


class SqliteConfig(PluginConfig):
    """The section `[plugins.sqlite]`."""

    path: Path | None = Field(
        default=None,
        description='The database file; default "opspawn.db" in the data folder. A relative path in opspawn.toml '
        'starts at the folder of that file, one from the environment at the current folder. ":memory:" keeps nothing.',
    )
    synchronous: Literal["full", "normal"] = Field(
        default="full",
        description='"full" keeps every commit through a power failure; "normal" is faster and may lose the last ones.',
    )
    busy_timeout_s: float = Field(default=30.0, ge=0, description="Seconds to wait while another process writes.")

    def file(self, data: str) -> str:
        """The database file as `open_sqlite` takes it; `data` is the folder for local files."""
        if self.path is None:
            return str(Path(data) / "opspawn.db")
        return MEMORY if self.path.name == MEMORY else str(self.path.expanduser())


async def open_store(section: Any, data: str) -> Store:
    """Open the store of a section. Raises: StoreUnusable."""
    from opspawn.stores.sqlite import open_sqlite

    config = section if isinstance(section, SqliteConfig) else SqliteConfig.model_validate(section or {})
    return await open_sqlite(config.file(data), synchronous=config.synchronous, busy_timeout_s=config.busy_timeout_s)


def nothing_yet(section: SqliteConfig, data: str) -> str | None:
    """What to say while nothing has made the database; None once it is there, or cannot be looked for."""
    file = section.file(data)
    if file == MEMORY or Path(file).exists() or (section.path is None and Path(data).is_dir()):
        return None
    return f"There is no data in {data} yet." if section.path is None else f"There is no database {file} yet."


def from_address(address: str) -> dict[str, Any] | None:
    """The file of "sqlite:///ABSOLUTE/PATH" or "sqlite:PATH"."""
    scheme, _, path = address.partition(":")
    if scheme != "sqlite" or not path:
        return None
    path = path.removeprefix("//")
    return {"path": path if path == MEMORY else Path.cwd() / Path(path).expanduser()}


@hookimpl
def opspawn_stores() -> Iterable[StorePlugin]:
    """The embedded store, `store = "sqlite"`."""
    help = "One SQLite file: nothing else to install."
    yield StorePlugin("sqlite", open_store, SqliteConfig, help, nothing_yet, from_address)
