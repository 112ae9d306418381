"""What a call of a tool is really about: a tool may stand for others, as a proxy does, and may bring its own policy."""

from __future__ import annotations

from typing import Any, cast

from opspawn.agentkit.deciding import Policies, as_decider
from opspawn.contracts.tool import StandsForOthers, Tool


def meant(tool: Tool, arguments: dict[str, Any]) -> tuple[Tool, dict[str, Any]]:
    """The tool that is meant by a call, and the arguments for it: what policies decide on, and what is called."""
    if not hasattr(tool, "meant"):  # asking for the protocol would be felt at every call
        return tool, arguments
    return cast(StandsForOthers, tool).meant(arguments)


def policies_with(policies: Policies, tool: Tool) -> Policies:
    """The policies of a run, with the one that the tool brings, if it does."""
    own = getattr(tool, "decider", None)
    return policies if own is None else policies + Policies((as_decider(own),))
