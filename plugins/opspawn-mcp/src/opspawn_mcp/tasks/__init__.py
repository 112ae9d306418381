"""The Tasks extension of MCP: a server answers a long call with a task, which is asked for until it has ended."""
