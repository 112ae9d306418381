"""What an agent cannot be made of, or run with, is told in one line at once."""

from __future__ import annotations

from typing import Any

import pytest

from opspawn import Agent
from opspawn.errors import ConfigError, InvalidInput
from opspawn.testing import LoopPlanner, ScriptedModel


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"model": 5}, "The agent 'helper' has model=5. Write \"PROVIDER:MODEL\""),
        ({"model": ["a:b", 5]}, "The agent 'helper' has model=5."),
        ({"model": []}, "A list of models is empty."),
        ({"planner": 5}, "The agent 'helper' has planner=5. Name a planner plugin"),
    ],
)
def test_what_an_agent_cannot_be_made_of_is_named(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as info:
        Agent("helper", **parts)
    assert words in str(info.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"input": object()}, "The input of the agent 'helper' cannot be expressed in JSON"),
        ({"input": {"ratio": float("nan")}}, "cannot be expressed in JSON"),
        ({"input": "Hi.", "history": ["Hello."]}, "The history holds 'Hello.', which is no message."),
    ],
)
async def test_what_an_agent_cannot_run_with_is_named(given: dict[str, Any], words: str) -> None:
    agent = Agent("helper", model=ScriptedModel(["Hi."]), planner=LoopPlanner())
    with pytest.raises(InvalidInput) as info:
        await agent.run(**given)
    assert words in str(info.value)
