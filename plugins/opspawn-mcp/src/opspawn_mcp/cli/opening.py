"""The fleet of the current configuration, for one command."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, cast

from loguru import logger

from opspawn.cli.assemble import start_logs
from opspawn.cli.output import configuration, installed
from opspawn.config import Loaded
from opspawn.errors import ConfigError
from opspawn_mcp.fleet import Fleet
from opspawn_mcp.settings import McpConfig


def section(loaded: Loaded | None = None) -> McpConfig:
    """The section `[plugins.mcp]`, checked. Raises: ConfigError."""
    loaded = loaded or configuration()
    plugins = installed(loaded)
    config = cast(McpConfig, plugins.section(plugins.get("tool", "mcp"), loaded.sections))
    return config if config.root is not None else config.model_copy(update={"root": loaded.folder})


@asynccontextmanager
async def fleet() -> AsyncIterator[Fleet]:
    """The fleet, not connected; closed at the end. Raises: ConfigError: something is wrong, or there is no server."""
    loaded = configuration()
    start_logs(loaded)
    if loaded.settings.logs.level != "debug":
        logger.disable("opspawn_mcp")  # what it would warn of is what the commands show
    config = section(loaded)
    if not config.servers:
        raise ConfigError(
            "No MCP server is configured.",
            remedy="Add [plugins.mcp.servers.NAME] to opspawn.toml, or see 'opspawn mcp import'.",
        )
    made = Fleet(config)
    made.audit.by = f"cli:{_user()}"
    try:
        yield made
    finally:
        await made.aclose()


def run(main: Coroutine[Any, Any, int | None]) -> int:
    """Run a command to its end; the answer is its exit code."""
    return asyncio.run(main) or 0


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
