"""The ReAct planner for Opspawn: `planner="react"`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from opspawn.contracts.planner import Planner
from opspawn.contracts.plugins import PlannerPlugin, PluginConfig
from opspawn.hookspecs import hookimpl

OPSPAWN_PLUGIN_API = ">=1,<2"


class ReactConfig(PluginConfig):
    """The section `[plugins.react]`."""

    max_repeats: int = Field(
        default=3,
        ge=2,
        description="How many times in a row a model may ask for the same calls, or go through the same circle of "
        "calls; the last of them is not carried out.",
    )
    mode: Literal["auto", "native", "text"] = Field(
        default="auto",
        description='How tools are called: "native" with the tool calling of the model, "text" in lines of text, '
        '"auto" in text where the model is known to call no tools.',
    )
    finish: bool = Field(
        default=False,
        description="Whether the model is asked for an answer without tools when it reaches its limit of steps, or "
        "turns in circles; the run fails otherwise.",
    )


def _open(section: ReactConfig) -> Planner:
    from opspawn_planner_react.planner import ReactPlanner

    return ReactPlanner(max_repeats=section.max_repeats, mode=section.mode, finish=section.finish)


@hookimpl
def opspawn_planners() -> Iterable[PlannerPlugin]:
    """Offer `react`."""
    return [PlannerPlugin("react", _open, ReactConfig, "think, act, look, until there is an answer (ReAct)")]
