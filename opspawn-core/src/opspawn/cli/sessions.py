"""`opspawn sessions`: pieces of agents' work, as their tasks and what was declared of them say."""

from __future__ import annotations

import json
from typing import Any

import click

from opspawn.cli.jsons import json_object, json_value
from opspawn.cli.named import named
from opspawn.cli.output import json_option, print_json, print_text, say
from opspawn.cli.roster import Desk, at_desk
from opspawn.cli.tables import print_table
from opspawn.contracts.lifecycle import Session, SessionState
from opspawn.lifecycle_views import SessionView


@click.group()
def sessions() -> None:
    """List, show, start and update sessions of agents."""


@sessions.command("list")
@click.option("--agent", callback=named, help="Only sessions of this agent.")
@click.option("--status", type=click.Choice([str(state) for state in SessionState]), help="Only sessions like this.")
@click.option(
    "--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="How many to look at, newest first."
)
@json_option
@click.pass_context
def list_sessions(context: click.Context, agent: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """List sessions that were started by name or by a workflow, newest first."""

    async def act(desk: Desk) -> None:
        page = await desk.sessions.find(agent=agent, state=SessionState(status) if status else None, limit=limit)
        if as_json:
            print_json([SessionView.of(one).to_json() for one in page.items])
            return
        rows = [[one.id, one.agent, one.workflow, str(one.state), one.started, one.ended] for one in page.items]
        print_table(["id", "agent", "workflow", "status", "started", "ended"], rows, empty="No such sessions.")

    at_desk(context, act)


@sessions.command()
@click.argument("id")
@json_option
@click.pass_context
def show(context: click.Context, id: str, as_json: bool) -> None:
    """Show one session."""

    async def act(desk: Desk) -> None:
        _print(await desk.sessions.get(id), as_json)

    at_desk(context, act)


@sessions.command()
@click.argument("agent")
@click.option("--workflow", help="The workflow that it is about.")
@click.option("--metadata", metavar="JSON", help="What is to be kept with it.")
@json_option
@click.pass_context
def start(context: click.Context, agent: str, workflow: str | None, metadata: str | None, as_json: bool) -> None:
    """Begin a session of AGENT, and print its id."""
    said = json_object("--metadata", metadata) if metadata is not None else None

    async def act(desk: Desk) -> None:
        session = await desk.sessions.start_session(agent, workflow, said)
        if as_json:
            print_json(SessionView.of(session).to_json())
        else:
            print_text(session.id)

    at_desk(context, act)


@sessions.command()
@click.argument("agent")
@click.argument("id")
@click.option("--status", help="waiting, processing, paused, completed, error or cancelled.")
@click.option("--metadata", metavar="JSON", help="Merged key by key; null removes a key.")
@click.option("--result", metavar="JSON", help="What came out.")
@click.option("--error", metavar="JSON", help="What went wrong.")
@json_option
@click.pass_context
def update(
    context: click.Context,
    agent: str,
    id: str,
    status: str | None,
    metadata: str | None,
    result: str | None,
    error: str | None,
    as_json: bool,
) -> None:
    """Change a session of AGENT."""
    changes: dict[str, Any] = {"status": status} if status is not None else {}
    if metadata is not None:
        changes["metadata"] = json_object("--metadata", metadata)
    for name, text in (("result", result), ("error", error)):
        if text is not None:
            changes[name] = json_value(f"--{name}", text)

    async def act(desk: Desk) -> None:
        session = await desk.sessions.update_session(agent, id, changes)
        if as_json:
            print_json(SessionView.of(session).to_json())
        else:
            say(f"Session {id} {session.state.words}.")

    at_desk(context, act)


def _print(session: Session, as_json: bool) -> None:
    told = SessionView.of(session).to_json()
    if as_json:
        print_json(told)
        return
    for name, value in told.items():
        if value not in (None, {}, ""):
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            print_text(f"{name:<16} {shown}")
