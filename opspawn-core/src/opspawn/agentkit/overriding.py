"""What one run does differently from its agent. Plain data, so that it travels with a durable task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from opspawn.agentkit.description import Description
from opspawn.config.checks import build
from opspawn.errors import ConfigError, InvalidInput


class Overrides(BaseModel):
    """The parts of an agent that a durable run may have otherwise; what is left out stays."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    model: str | list[str] | None = Field(None, description='"PROVIDER:MODEL", or several that are asked in turn.')
    planner: str | None = Field(None, min_length=1, description="The name of a planner plugin.")
    planner_settings: dict[str, Any] = Field(default_factory=dict, description="Added to the agent's own.")
    max_steps: int | None = Field(None, ge=1, description="How many model calls it may make.")
    settings: dict[str, Any] = Field(default_factory=dict, description="Added to the agent's own, for the model.")


def overridden(about: Description, given: Mapping[str, Any]) -> Description:
    """The description with the changes of a run. Raises: InvalidInput: one line that names the fault."""
    try:
        changes = build(Overrides, given, prefix="overrides.", origin=lambda _: about.name)
        return about.changed({name: value for name, value in changes if name in given and value is not None})
    except ConfigError as error:
        raise InvalidInput(error.message, remedy=error.remedy) from error
