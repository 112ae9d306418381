"""A plan as data: what a planner means to do, in a form that people can read, approve and change."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from opspawn.contracts.tool import Effect


class PlanStep(BaseModel):
    """One step: a call of a tool, or, without one, something to think about.

    Attributes:
        id: 1 to 64 of letters, digits, "_", "-", a letter first; unique in a run.
        description: what it is for; of a step without a tool, what is to be worked out.
        tool: the tool's name, or None.
        inputs: its arguments; what a step without a tool is told besides its description.
        effect: what it does to the world at most; None until somebody has looked at the tool.
        needs: the ids of steps that must be done before.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    id: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")
    description: str = ""
    tool: str | None = None
    inputs: dict[str, Any] = Field(default_factory=dict)
    effect: Effect | None = None
    needs: list[str] = Field(default_factory=list)


class Plan(BaseModel):
    """Steps; their order on paper says nothing, `needs` does."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    steps: list[PlanStep] = Field(min_length=1)


class PlanVerdict(BaseModel):
    """What a person says of a plan.

    Attributes:
        decision: "approve"; "revise": make another one, with `words` in mind; or "reject": stop.
        plan: with "approve", the plan to be carried out instead, as it was sent: not looked at yet.
        words: what they said. by: who they are.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    decision: Literal["approve", "revise", "reject"]
    plan: dict[str, Any] | None = None
    words: str = ""
    by: str | None = None
