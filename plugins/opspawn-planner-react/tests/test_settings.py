"""Settings of the planner: from the configuration, of an agent, and for one run; checked by its model."""

from __future__ import annotations

import pytest

from opspawn.agentkit import Agent, Kit, tool
from opspawn.contracts.model import ToolCall
from opspawn.errors import ConfigError, StepLimit
from opspawn.plugins import Plugins
from opspawn.testing import ScriptedModel


@pytest.fixture
def kit() -> Kit:
    return Kit(Plugins.load(), sections={"react": {"finish": True}})


@tool(effect="read")
async def look(place: str) -> str:
    """Look at a place."""
    return "nothing"


def agent(**changes: object) -> Agent:
    def script(request: object) -> ToolCall | str:
        return ToolCall("1", "look", {"place": "here"}) if getattr(request, "tools", ()) else "Nothing so far."

    return Agent("helper", model=ScriptedModel(script), tools=[look], max_steps=2, **changes)  # type: ignore[arg-type]


async def test_without_settings_of_its_own_an_agent_has_the_configured_ones(kit):
    assert (await agent().run("Well?", kit=kit)).reason == "step_limit"


async def test_settings_of_an_agent_count_before_the_configured_ones(kit):
    with pytest.raises(StepLimit):
        await agent(planner_settings={"finish": False}).run("Well?", kit=kit)


async def test_settings_for_one_run_are_added_to_those_of_the_agent(kit):
    helper = agent(planner_settings={"finish": False, "max_repeats": 2})

    result = await helper.run("Well?", kit=kit, planner_settings={"finish": True})

    assert result.reason == "step_limit"
    with pytest.raises(StepLimit):
        await helper.run("Well?", kit=kit)


async def test_a_setting_that_there_is_not_is_one_clear_line(kit):
    with pytest.raises(ConfigError, match=r"'planner_settings\.finsh'\. Did you mean 'planner_settings\.finish'\?"):
        await agent(planner_settings={"finsh": True}).run("Well?", kit=kit)


def test_settings_beside_a_planner_that_is_an_object_are_refused():
    class Planner:
        async def run(self, context: object) -> None: ...

    with pytest.raises(ConfigError, match="a planner that is an object already"):
        agent(planner=Planner(), planner_settings={"finish": True})
