"""Running an agent: its instructions, its planner's loop, those whom it hands over to, and its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opspawn.agentkit import instructions
from opspawn.agentkit.agent_run import AgentRun
from opspawn.agentkit.bound import BoundModel
from opspawn.agentkit.context import Context
from opspawn.agentkit.deciding import Policies
from opspawn.agentkit.description import Description
from opspawn.agentkit.memory_tools import Access, memory_tools
from opspawn.agentkit.output import Output
from opspawn.agentkit.plain import plain_json
from opspawn.agentkit.readings import shown_with
from opspawn.agentkit.recalling import access_of, extracted, recalled
from opspawn.agentkit.remembering import Given
from opspawn.agentkit.subagents import MAX_DEPTH, HandedOver
from opspawn.contracts.model import Message, Usage
from opspawn.contracts.planner import Planner, Reason, reason_of
from opspawn.contracts.tool import Tool, ToolSource
from opspawn.errors import ConfigError, Halt, InvalidInput, StepLimit


@dataclass(frozen=True)
class Parts:
    """An agent's words, resolved to objects. `others` are the agents that it stands on, by name."""

    about: Description
    model: BoundModel
    planner: Planner
    tools: tuple[Tool, ...]
    sources: tuple[ToolSource, ...]
    form: Output | None
    fixed_instructions: str | None
    policies: Policies
    others: Mapping[str, Parts] = field(default_factory=dict)
    cheaper: BoundModel | None = None


@dataclass(frozen=True)
class Ended:
    """How a run ended: the typed `value`, the same as JSON, and the conversation without its system message."""

    value: Any
    plain: Any
    reason: Reason
    usage: Usage
    messages: tuple[Message, ...]
    new_messages: tuple[Message, ...]
    agent: str


def check_input(agent: str, input: Any) -> None:
    """Return if an agent can begin with an input. Raises: InvalidInput: there is nothing in it, or it is no JSON."""
    if input is None or (isinstance(input, str) and not input.strip()):
        raise InvalidInput(f"The agent {agent!r} needs an input.", remedy="Give it a text, or any JSON.")
    try:
        plain_json(input)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"The input of the agent {agent!r} cannot be expressed in JSON: {error}",
            remedy="Give it a text, or any JSON; what tools work with goes into deps.",
        ) from error


def check_history(history: Sequence[Any]) -> None:
    """Raises: InvalidInput: something in it is no message."""
    for one in history:
        if not isinstance(one, Message):
            raise InvalidInput(
                f"The history holds {one!r:.80}, which is no message.",
                remedy='Give the messages of a result, or Message("user", "...").',
            )


async def run_agent(base: Context, parts: Parts, history: Sequence[Message] = ()) -> Ended:
    """Run an agent on the input of `base` until somebody has answered: it, or who it handed the conversation to.

    Raises: what the planner raises. StepLimit: the conversation was handed on and on.
    """
    usage, before, cheaper = Usage(), tuple(history), parts.cheaper
    if parts.about.budget is not None:
        base.allow("agent", parts.about.budget)
    began = False
    for _ in range(MAX_DEPTH + 1):
        about = parts.about
        base.agent = about.name
        access = await _access(base, about)
        context = _context_of(base, parts, access, before, cheaper)
        context.usage = usage
        try:
            if context.guards is not None and not began:
                base.input = context.input = await context.guards.input(base.input)
            began = True
            if parts.fixed_instructions is None:
                context.instructions = await _written(base, about)
            if parts.sources and (read := await shown_with(context, parts.sources)) is not None:
                context.show(read)
            if access is not None and (found := await recalled(access, context)) is not None:
                context.show(found)
            fit, reason = await context.conclude(await parts.planner.run(context))
            if access is not None and access.settings.extract:
                await extracted(access, context)
        except HandedOver as over:
            told = {"from": about.name, "to": over.agent.name, "reason": over.reason}
            await context.tell("agent.handoff", told)
            before, usage, parts = tuple(over.messages), context.usage, parts.others[over.agent.name]
            continue
        except Halt:
            raise
        except Exception as error:
            context.ended(reason_of(error), error=True)
            raise
        context.ended(reason)
        said = context.conversation
        new = said[len(history) :] if said[: len(history)] == tuple(history) else said
        messages = (*history, *new)
        return Ended(fit.value, fit.plain, reason, context.usage, messages, new, about.name)
    raise StepLimit(f"The conversation was handed over more than {MAX_DEPTH} times.")


def _context_of(
    base: Context, parts: Parts, access: Access | None, before: tuple[Message, ...], cheaper: BoundModel | None
) -> AgentRun:
    """What the planner of an agent gets, after so much of a conversation."""
    about = parts.about
    return AgentRun(
        base,
        name=about.name,
        instructions=parts.fixed_instructions or "",
        model=parts.model,
        tools=parts.tools if access is None else (*parts.tools, *memory_tools(access)),
        max_steps=about.max_steps,
        sources=parts.sources,
        form=parts.form,
        validators=about.output_validators,
        history=before,
        handoffs=about.handoffs,
        policies=parts.policies,
        window=about.window,
        cheaper=cheaper,
        guardrails=about.guards,
    )


async def _access(base: Context, about: Description) -> Access | None:
    """The way to the memory of an agent that has one."""
    settings = about.recollection
    if settings is None:
        return None
    memories = base.memories if settings.memory is None else Given(settings.memory)
    if memories is None:
        raise ConfigError(f"The agent {about.name!r} has memory, and this run has none.")
    access = await access_of(settings, memories, base)
    base.memories, base.namespace = memories, None if access is None else access.namespace
    return access


async def _written(base: Context, about: Description) -> str:
    """Instructions that differ from run to run: recorded, since what they are made of may have changed on a replay."""

    async def write() -> str:
        return await instructions.written(about.fragments, base)

    text: str = await base.step("instructions", write)
    return text


def known_to(parts: Parts) -> dict[str, Parts]:
    """An agent and all that it stands on, by name."""
    found = {parts.about.name: parts}
    for other in parts.others.values():
        found |= known_to(other)
    return found


def agent_of(handler: str, known: Mapping[str, Parts]) -> Parts:
    """The agent behind a handler of a nested run. Raises: ConfigError: this run does not know it."""
    kind, _, name = handler.partition("/")
    if kind != "agent" or name not in known:
        raise ConfigError(
            f"{handler!r} needs child tasks, and this run is in memory.",
            remedy="Run it with 'opspawn run' or 'opspawn serve', or give the agent that is meant among its tools.",
        )
    return known[name]
