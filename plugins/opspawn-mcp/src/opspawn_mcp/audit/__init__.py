"""The audit log: every call of an MCP tool and every decision on one, apart from the journals of runs."""
