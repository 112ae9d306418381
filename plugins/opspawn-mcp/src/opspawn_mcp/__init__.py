"""MCP for Opspawn: `[plugins.mcp.servers.NAME]`, `tools = ["mcp:NAME/*"]`, `opspawn mcp`."""

from opspawn_mcp.plugin import opspawn_commands, opspawn_tools, opspawn_transports
from opspawn_mcp.settings import McpConfig, ServerConfig

OPSPAWN_PLUGIN_API = ">=1,<2"

__all__ = [
    "OPSPAWN_PLUGIN_API",
    "McpConfig",
    "ServerConfig",
    "opspawn_commands",
    "opspawn_tools",
    "opspawn_transports",
]
