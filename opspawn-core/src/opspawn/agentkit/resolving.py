"""From an agent's words to objects: the model, the planner and the tools that its names stand for."""

from __future__ import annotations

from typing import cast

from opspawn.agentkit import instructions
from opspawn.agentkit.bound import BoundModel
from opspawn.agentkit.choosing import chosen_model, is_named
from opspawn.agentkit.deciding import Policies
from opspawn.agentkit.description import Description
from opspawn.agentkit.kit import Kit
from opspawn.agentkit.placing import Placing, place
from opspawn.agentkit.running import Parts
from opspawn.agentkit.subagents import SubAgent
from opspawn.agentkit.toolsets import is_source
from opspawn.contracts.budget import Cheaper


def resolve(about: Description, kit: Kit | None) -> Parts:
    """Objects for names; `kit` may be None only where `needs_kit` says that nothing is a name.

    Raises: ConfigError: something that the agent, or one that it stands on, names is not set or not installed.
    """
    bound = chosen_model(about.model, kit, agent=about.name, settings=about.settings)
    planner = about.planner
    if isinstance(planner, str):
        planner = cast(Kit, kit).planner(planner, about.planner_settings)
    found = [cast(Kit, kit).tool_or_source(tool) if isinstance(tool, str) else tool for tool in about.fixed]
    tools = tuple(place(tool, about.place, kit) for tool in found if not is_source(tool))
    sources = (*(one for one in found if is_source(one)), *about.sources)
    if sources and kit is not None:
        sources = tuple(Placing(source, about.place, kit) for source in sources)
    plain = about.form.is_text and not about.output_validators
    return Parts(
        about,
        bound,
        planner,
        tools,
        sources,
        None if plain else about.form.bound(bound.capabilities()),
        instructions.fixed(about.fragments),
        Policies([cast(Kit, kit).policy(one) if isinstance(one, str) else one for one in about.deciders]),
        {agent.name: resolve(described(agent), kit) for agent in about.subagents},
        _cheaper(about, kit),
    )


def _cheaper(about: Description, kit: Kit | None) -> BoundModel | None:
    """The model that goes on when the budget is used up."""
    wanted = about.budget.on_exceed if about.budget is not None else None
    if not isinstance(wanted, Cheaper):
        return None
    return chosen_model(wanted.model, kit, agent=about.name, settings=about.settings)


def needs_kit(about: Description) -> bool:
    """Whether anything that the agent, or one that it stands on, is made of is found in plugins."""
    named = (about.planner, *about.fixed, *about.deciders)
    return (
        is_named(about.model)
        or (about.budget is not None and isinstance(getattr(about.budget.on_exceed, "model", None), str))
        or about.place is not None
        or (about.recollection is not None and about.recollection.memory is None)
        or any(isinstance(part, str) or getattr(part, "sandbox", None) is not None for part in named)
        or any(needs_kit(described(agent)) for agent in about.subagents)
    )


def described(agent: SubAgent) -> Description:
    """What an agent is now, with what a test has put in place of its parts."""
    return cast(Description, agent.about)
