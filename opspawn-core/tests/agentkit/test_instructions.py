"""Instructions are texts, texts with the run's dependencies, and functions; several are joined."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from opspawn.agentkit import Agent
from opspawn.contracts.run import AgentContext
from opspawn.errors import ConfigError, OpspawnError
from opspawn.testing import ScriptedModel


@dataclass
class User:
    name: str
    tags: dict[str, str]


async def told(agent, instructions, deps=None) -> str:
    model = ScriptedModel(["Done."])
    await agent("helper", model, instructions=instructions).run("Go.", deps=deps)
    return model.requests[0].messages[0].content


async def test_fields_of_the_dependencies_stand_in_a_text(agent):
    deps = SimpleNamespace(user=User("Ada", {"role": "admin"}))

    text = await told(agent, "You help {deps.user.name}, {deps.user.tags.role}. You are {agent}.", deps)

    assert text == "You help Ada, admin. You are helper."


async def test_other_braces_mean_nothing_and_double_ones_are_kept(agent):
    text = await told(agent, 'Answer as {"name": 1} or {x}; write {{deps.user}}.')

    assert text == 'Answer as {"name": 1} or {x}; write {deps.user}.'


async def test_functions_write_instructions_from_the_context_and_all_are_joined(agent):
    async def about(context: AgentContext) -> str:
        return f"It is {context.deps}."

    text = await told(agent, ["Be brief.", about, lambda: "", lambda: "Go."], "late")

    assert text == "Be brief.\n\nIt is late.\n\nGo."


@pytest.mark.parametrize(("deps", "words"), [(User("Ada", {}), "User has no 'nick'"), (None, "the run has no deps")])
async def test_a_field_that_is_missing_is_named(agent, deps, words):
    with pytest.raises(OpspawnError, match=rf"agent 'helper' name \{{deps.nick\}}, and {words}"):
        await told(agent, "You help {deps.nick}.", deps)


@pytest.mark.parametrize("wrong", [5, ["a", 5], "Say {deps.__class__}."])
def test_what_is_no_instruction_is_refused_at_definition(wrong):
    with pytest.raises(ConfigError, match="'helper'"):
        Agent("helper", instructions=wrong)


def test_an_agent_shows_its_instructions_with_functions_by_name():
    def about() -> str:
        return ""

    assert Agent("helper", instructions=["Be brief.", about]).instructions == "Be brief.\n\n<about>"
