"""The other way round: agents, workflows, tools and the fleet, offered to any MCP client."""
