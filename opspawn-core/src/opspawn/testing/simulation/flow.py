"""The workflow of the simulated worlds; none where the extra `workflows` is not installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, cast

from opspawn.agentkit.context import Context
from opspawn.agentkit.function_tool import tool
from opspawn.contracts.run import RunContext
from opspawn.testing.simulation.outside import act

#: The handler, and whether there is one.
FLOW = "workflow/flow"
INSTALLED = find_spec("yaml") is not None and find_spec("cel") is not None
_DEFINITION = {
    "opspawn": "1",
    "name": "flow",
    "inputs": {"key": {"type": "string"}},
    "steps": {
        "first": {"uses": "tool/acting", "with": {"key": "${{ inputs.key }}.first"}},
        "second": {"uses": "tool/acting", "with": {"key": "${{ inputs.key }}.second"}},
        "third": {
            "needs": ["first", "second"],
            "uses": "tool/acting",
            "with": {"key": "${{ steps.first.output }}, ${{ steps.second.output }}"},
        },
    },
    "output": "${{ steps.third.output }}",
}


@tool(effect="idempotent", name="acting")
async def _acting(key: str) -> str:
    """Do something outside."""
    return await act(key, 0.4, 0.2)


async def run_flow(context: RunContext) -> Any:
    """The handler."""
    from opspawn.ops.workflows import load_workflow, run_workflow

    workflow = load_workflow(_DEFINITION, source="flow", tools={"acting": _acting})
    return await run_workflow(workflow, cast(Context, context), {"acting": _acting})


def result_of(key: str) -> str:
    """What it returns."""
    return f"{key}.first done, {key}.second done done"
