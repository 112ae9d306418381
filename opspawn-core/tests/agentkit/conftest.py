"""What the tests of agents share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from opspawn.agentkit import Agent
from opspawn.contracts.planner import Planner
from opspawn.testing import LoopPlanner


@pytest.fixture
def loop() -> Planner:
    return LoopPlanner()


@pytest.fixture
def agent(loop: Planner) -> Callable[..., Agent[Any, Any]]:
    """Makes agents that think and act in a loop."""

    def make(name: str, model: Any, **given: Any) -> Agent[Any, Any]:
        return Agent(name, model=model, **{"planner": loop, **given})

    return make
