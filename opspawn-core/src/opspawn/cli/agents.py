"""`opspawn agents`: who there is, what each does, and whether it gets work."""

from __future__ import annotations

from typing import Any

import click

from opspawn.cli.jsons import json_object
from opspawn.cli.named import named
from opspawn.cli.output import json_option, print_json, print_text, say
from opspawn.cli.roster import Desk, at_desk
from opspawn.cli.tables import print_table
from opspawn.contracts.events import Event
from opspawn.contracts.lifecycle import AgentState, AgentStatus, RegisteredAgent
from opspawn.lifecycle_views import RegisteredAgentView, StateView
from opspawn.views import EventView


@click.group()
def agents() -> None:
    """List, show, register, pause and resume agents, those of apps and remote ones."""


@agents.command("list")
@click.option("--state", type=click.Choice([str(state) for state in AgentState]), help="Only agents in this state.")
@click.option("--capability", callback=named, help="Only agents that can do this.")
@json_option
@click.pass_context
def list_agents(context: click.Context, state: str | None, capability: str | None, as_json: bool) -> None:
    """List agents with their states."""

    async def act(desk: Desk) -> None:
        found: list[tuple[RegisteredAgent, AgentStatus]] = []
        cursor: str | None = None
        wanted = AgentState(state) if state else None
        while True:
            page = await desk.agents.find(state=wanted, capability=capability, limit=200, cursor=cursor)
            found += page.items
            if (cursor := page.cursor) is None:
                break
        if as_json:
            print_json([RegisteredAgentView.of(agent, status).to_json() for agent, status in found])
            return
        rows = [
            [one.id, one.name, "app" if one.local else "remote", str(status.state), ", ".join(one.capabilities)]
            for one, status in found
        ]
        print_table(["id", "name", "of", "state", "capabilities"], rows, empty="No such agents.")

    at_desk(context, act)


@agents.command()
@click.argument("id")
@json_option
@click.pass_context
def show(context: click.Context, id: str, as_json: bool) -> None:
    """Show one agent and its state."""

    async def act(desk: Desk) -> None:
        agent, status = await desk.agents.get(id), await desk.agents.get_state(id)
        told = {**RegisteredAgentView.of(agent).to_json(), **StateView.of(status).to_json()}
        if as_json:
            print_json(told)
            return
        for name, value in told.items():
            if value not in (None, {}, [], ""):
                print_text(f"{name:<16} {', '.join(value) if isinstance(value, list) else value}")

    at_desk(context, act)


@agents.command()
@click.argument("id")
@click.option("--name", required=True, help="A name for people.")
@click.option("--endpoint", required=True, metavar="URL", help="Where it takes its tasks.")
@click.option("--version", default="", help="The agent's own version.")
@click.option("--capability", "capabilities", multiple=True, help="What it can do; may be given several times.")
@click.option("--metadata", metavar="JSON", help="Whatever else is to be kept with it.")
@click.option("--concurrency", type=int, default=1, show_default=True, help="How many tasks it gets at once.")
@json_option
@click.pass_context
def register(
    context: click.Context,
    id: str,
    name: str,
    endpoint: str,
    version: str,
    capabilities: tuple[str, ...],
    metadata: str | None,
    concurrency: int,
    as_json: bool,
) -> None:
    """Register a remote agent, or what is new about one; its state and history stay."""
    said = json_object("--metadata", metadata) if metadata is not None else None

    async def act(desk: Desk) -> None:
        agent = await desk.agents.register(
            id,
            name=name,
            version=version,
            capabilities=capabilities,
            contact_endpoint=endpoint,
            metadata=said,
            concurrency=concurrency,
        )
        if as_json:
            print_json(RegisteredAgentView.of(agent).to_json())
        else:
            say(f"Agent {agent.id} is registered.")

    at_desk(context, act)


@agents.command()
@click.argument("id")
@click.pass_context
def deregister(context: click.Context, id: str) -> None:
    """Forget an agent; its history stays, and its tasks wait until it is registered again."""

    async def act(desk: Desk) -> None:
        await desk.agents.deregister(id)
        say(f"Agent {id} is deregistered.")

    at_desk(context, act)


@agents.command()
@click.argument("id")
@click.option("--reason", help="Why, for others to read.")
@json_option
@click.pass_context
def pause(context: click.Context, id: str, reason: str | None, as_json: bool) -> None:
    """Give an agent no more tasks until it is resumed; those that run go on."""

    async def act(desk: Desk) -> None:
        status = await desk.agents.set_state(id, "paused", {"reason": reason} if reason else None)
        _tell(status, f"Agent {id} is paused. Lift it with: opspawn agents resume {id}", as_json)

    at_desk(context, act)


@agents.command()
@click.argument("id")
@json_option
@click.pass_context
def resume(context: click.Context, id: str, as_json: bool) -> None:
    """Lift a pause, and of an agent of an app an error."""

    async def act(desk: Desk) -> None:
        status = await desk.agents.resume(id)
        _tell(status, f"Agent {id} {status.state.words}.", as_json)

    at_desk(context, act)


@agents.command()
@click.argument("id")
@click.argument("new", required=False, metavar="[STATE]")
@click.option("--details", metavar="JSON", help="What is to be said of it.")
@click.option("--timestamp", metavar="TIME", help="Since when it is true; now by default.")
@json_option
@click.pass_context
def state(
    context: click.Context, id: str, new: str | None, details: str | None, timestamp: str | None, as_json: bool
) -> None:
    """Show an agent's state, or report STATE for it."""
    said = json_object("--details", details) if details is not None else None

    async def act(desk: Desk) -> None:
        if new is None:
            status = await desk.agents.get_state(id)
            _print(status, as_json)
            return
        status = await desk.agents.set_state(id, new, said, timestamp)
        late = " The report is older than the last one: it is history only." if status.late else ""
        _tell(status, f"Agent {id} {status.state.words}.{late}", as_json)

    at_desk(context, act)


@agents.command()
@click.argument("id")
@click.option("--limit", type=click.IntRange(1, 1000), default=200, show_default=True, help="How many at most.")
@json_option
@click.pass_context
def history(context: click.Context, id: str, limit: int, as_json: bool) -> None:
    """Show what was reported of an agent, oldest first."""

    async def act(desk: Desk) -> None:
        events = await desk.agents.history(id, limit=limit)
        if as_json:
            print_json([EventView.of(event).to_json() for event in events])
            return
        print_table(["time", "event", "state", "details"], [_row(event) for event in events])

    at_desk(context, act)


def _row(event: Event) -> list[Any]:
    data = event.data
    words = f"{data.get('reported', data.get('state', ''))}{' (late)' if data.get('late') else ''}"
    return [event.time, event.type.removeprefix("agent."), words, data.get("details")]


def _print(status: AgentStatus, as_json: bool) -> None:
    if as_json:
        print_json(StateView.of(status).to_json())
    else:
        print_text(str(status.state))


def _tell(status: AgentStatus, words: str, as_json: bool) -> None:
    if as_json:
        print_json({**StateView.of(status).to_json(), "late": status.late})
    else:
        say(words)
