"""What the operator says of the calls of one server: its grants, its rules, its approved definitions."""

from __future__ import annotations

from opspawn.agentkit.matching import glob
from opspawn.agentkit.policy import Rule
from opspawn.contracts.policy import Considered, Verdict
from opspawn.errors import ConfigError
from opspawn_mcp.settings import ServerConfig
from opspawn_mcp.standing import granted, matching


class ServerPolicy:
    """Decides on calls of the tools of one server; whether a tool is approved is `standing`'s to say."""

    def __init__(self, server: str, config: ServerConfig) -> None:
        """Read the rules. Raises: ConfigError: one of them is wrong."""
        self.name = f"mcp:{server}"
        self._server = server
        self._config = config
        self._rules = [(rule.tool, _rule(server, number, rule)) for number, rule in enumerate(config.rules, 1)]

    def decide(self, tool: str, considered: Considered) -> Verdict | None:
        """What is to be said of a call of `tool`, by the name that the server knows it by."""
        if not granted(self._config, considered.agent):
            words = f"The agent {considered.agent!r} has no grant for the MCP server {self._server!r} (agents)."
            return Verdict("deny", words)
        for pattern, rule in self._rules:
            if glob(pattern, tool) and rule.fits(considered):
                return rule.verdict
        if matching(self._config.ask, tool):
            return Verdict("ask", f"Calls of {self._server}/{tool} need a human's word.")
        return None


def _rule(server: str, number: int, rule: object) -> Rule:
    fields = rule.model_dump(exclude={"tool"})  # type: ignore[attr-defined]  # a RuleConfig
    try:
        return Rule(**fields)
    except ConfigError as error:
        place = f"Rule {number} of plugins.mcp.servers.{server}.rules"
        raise ConfigError(f"{place}: {error.message}", remedy=error.remedy) from error
