"""The planner plan-execute for Opspawn: `planner="plan-execute"`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from opspawn.contracts.planner import Planner
from opspawn.contracts.plugins import PlannerPlugin, PluginConfig
from opspawn.hookspecs import hookimpl

OPSPAWN_PLUGIN_API = ">=1,<2"


class PlanConfig(PluginConfig):
    """The section `[plugins.plan-execute]`."""

    approve: Literal["always", "effects", "never"] = Field(
        default="never",
        description='Which plans a person must approve before they are carried out: "always" each, "effects" those '
        "with a step that does more than read.",
    )
    approvers: str | None = Field(
        default=None, min_length=1, max_length=200, description="Who is asked: a role or a person, in free text."
    )
    approve_timeout_s: float | None = Field(
        default=None, gt=0, description="Seconds after which a plan that nobody decided about counts as rejected."
    )
    max_parallel: int = Field(default=4, ge=1, le=64, description="How many steps are at work at once.")
    max_plan_steps: int = Field(default=20, ge=1, le=200, description="How many steps a plan may have.")
    max_replans: int = Field(
        default=3, ge=0, description="How many plans may follow the first one: after failures, or to go on."
    )
    repairs: int = Field(
        default=2, ge=0, description="How often in a row the model may mend a plan that cannot be carried out."
    )
    mode: Literal["auto", "native", "text"] = Field(
        default="auto",
        description='How the model gives its plan: "native" by a call of a tool, "text" as JSON in its text, "auto" in '
        "text where the model is known to call no tools.",
    )
    finish: bool = Field(
        default=False,
        description="Whether the model is asked for an answer without another plan when a limit is reached; the run "
        "fails otherwise.",
    )


def _open(section: PlanConfig) -> Planner:
    from opspawn_planner_plan.planner import PlanExecutePlanner

    return PlanExecutePlanner(**section.model_dump())


@hookimpl
def opspawn_planners() -> Iterable[PlannerPlugin]:
    """Offer `plan-execute`."""
    help = "plan first, have the plan approved where wanted, carry it out in parallel, plan again what failed"
    return [PlannerPlugin("plan-execute", _open, PlanConfig, help)]
