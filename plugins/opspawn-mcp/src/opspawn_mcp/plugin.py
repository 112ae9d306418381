"""Registers the tools of MCP servers, the MCP server `transports = ["mcp"]`, and the command `opspawn mcp`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from opspawn.contracts.plugins import CommandPlugin, ToolSourcePlugin, TransportPlugin
from opspawn.contracts.tool import ToolSource
from opspawn.contracts.transport import Host, Transport
from opspawn.hookspecs import hookimpl
from opspawn_mcp.settings import McpConfig


def open_source(section: Any) -> ToolSource:
    """The tools of all servers. Nothing is connected before a tool is asked for. Raises: ConfigError."""
    from opspawn_mcp.source import McpSource

    return McpSource.of(section if isinstance(section, McpConfig) else McpConfig.model_validate(section or {}))


def open_transport(host: Host, section: Any) -> Transport:
    """The MCP server, which listens once it is started."""
    from opspawn_mcp.serving.transport import McpTransport

    return McpTransport(host, section if isinstance(section, McpConfig) else McpConfig.model_validate(section or {}))


def open_command() -> Any:
    """The group `opspawn mcp`."""
    from opspawn_mcp.cli import group

    return group


@hookimpl
def opspawn_tools() -> Iterable[ToolSourcePlugin]:
    """The tools of the configured servers."""
    yield ToolSourcePlugin("mcp", open_source, McpConfig, "The tools of MCP servers, under policy.")


@hookimpl
def opspawn_transports() -> Iterable[TransportPlugin]:
    """Agents, workflows and tools for MCP clients."""
    yield TransportPlugin("mcp", open_transport, McpConfig, "MCP over HTTP: agents, workflows and tools for editors.")


@hookimpl
def opspawn_commands() -> Iterable[CommandPlugin]:
    """The command for the operator of a fleet."""
    yield CommandPlugin("mcp", open_command, McpConfig, "List, try, approve and examine MCP servers.")
