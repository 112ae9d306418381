"""What the tests of agents share."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

from opspawn.agentkit import Agent
from opspawn.contracts.planner import Planner
from opspawn.testing import LoopPlanner

#: The list of prices is an extra, which the core alone does not have.
collect_ignore = [] if find_spec("genai_prices") else ["test_prices.py"]


@pytest.fixture
def loop() -> Planner:
    return LoopPlanner()


@pytest.fixture
def agent(loop: Planner) -> Callable[..., Agent[Any, Any]]:
    """Makes agents that think and act in a loop."""

    def make(name: str, model: Any, **given: Any) -> Agent[Any, Any]:
        return Agent(name, model=model, **{"planner": loop, **given})

    return make
