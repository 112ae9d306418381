"""`opspawn approvals`: see what runs want to do and may not without a human's leave, and decide."""

from __future__ import annotations

import json
from typing import Any

import click

from opspawn.cli.deciding import how_to_run, who, with_engine
from opspawn.cli.jsons import json_object
from opspawn.cli.named import named
from opspawn.cli.output import json_option, print_json, print_text, say
from opspawn.cli.tables import print_table
from opspawn.contracts.question import AskedQuestion
from opspawn.contracts.store import Query
from opspawn.ops.engine.engine import Engine
from opspawn.views import QuestionView

STATES = ("open", "answered", "expired", "withdrawn", "any")


@click.group()
def approvals() -> None:
    """List, approve and deny what runs want to do."""


@approvals.command("list")
@click.option("--state", type=click.Choice(STATES), default="open", show_default=True, help="Only approvals like this.")
@click.option("--task", callback=named, help="Only approvals of this task.")
@click.option("--root", callback=named, help="Only approvals of this tree of tasks.")
@click.option("--to", callback=named, help="Only approvals by this role or person.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="How many, newest first.")
@json_option
@click.pass_context
def list_approvals(
    context: click.Context, state: str, task: str | None, root: str | None, to: str | None, limit: int, as_json: bool
) -> None:
    """List approvals, newest first."""
    asked = {"state": None if state == "any" else state, "task": task, "root": root, "to": to}
    query = Query(where={field: value for field, value in asked.items() if value}, limit=limit)

    async def act(engine: Engine) -> None:
        found = (await engine.approvals(query)).items
        if as_json:
            print_json([QuestionView.of(one).to_json() for one in found])
            return
        rows = [[one.id, one.task, one.state, one.question.to, _call(one)] for one in found]
        print_table(["id", "task", "state", "to", "call"], rows, empty="No such approvals.")

    with_engine(context, act)


@approvals.command()
@click.argument("id")
@json_option
@click.pass_context
def show(context: click.Context, id: str, as_json: bool) -> None:
    """Show one approval, with the exact arguments."""

    async def act(engine: Engine) -> None:
        asked = await engine.approval(id)
        if as_json:
            print_json(QuestionView.of(asked).to_json())
            return
        call = asked.question.call or {}
        told: dict[str, Any] = {
            "id": asked.id,
            "state": asked.state,
            "task": asked.task,
            "agent": asked.agent,
            "to": asked.question.to,
        }
        told |= {name: call.get(name) for name in ("act", "name", "reason", "policy")}
        told |= {"arguments": json.dumps(call.get("arguments"), ensure_ascii=False, indent=2)}
        told |= {"expires": asked.expires, "decision": _decision(asked), "used by": asked.consumed_by}
        for name, value in told.items():
            if value not in (None, ""):
                print_text(f"{name:<10} {value}")

    with_engine(context, act)


@approvals.command()
@click.argument("id")
@click.option("--arguments", metavar="JSON", help="Use these arguments instead; a JSON object.")
@click.option("--always", is_flag=True, help="Do not ask about this tool again in this run.")
@click.option("--by", help="Who decides, for the record; your login by default.")
@json_option
@click.pass_context
def approve(
    context: click.Context, id: str, arguments: str | None, always: bool, by: str | None, as_json: bool
) -> None:
    """Allow the call of approval ID."""
    changed = None if arguments is None else json_object("--arguments", arguments)

    async def act(engine: Engine) -> None:
        decided = await engine.approve(id, arguments=changed, always=always, by=by or who())
        await _tell(engine, decided, "approved", as_json)

    with_engine(context, act)


@approvals.command()
@click.argument("id")
@click.argument("reason", default="")
@click.option("--by", help="Who decides, for the record; your login by default.")
@json_option
@click.pass_context
def deny(context: click.Context, id: str, reason: str, by: str | None, as_json: bool) -> None:
    """Refuse the call of approval ID; the model is told the REASON."""

    async def act(engine: Engine) -> None:
        await _tell(engine, await engine.deny(id, reason, by=by or who()), "denied", as_json)

    with_engine(context, act)


async def _tell(engine: Engine, decided: AskedQuestion, what: str, as_json: bool) -> None:
    if as_json:
        print_json(QuestionView.of(decided).to_json())
    else:
        task = await engine.task(decided.task)
        say(f"{(decided.question.call or {}).get('name')} is {what}; task {task.id} goes on.{how_to_run(task)}")


def _call(asked: AskedQuestion) -> str:
    call = asked.question.call or {}
    text = f"{call.get('name')} {json.dumps(call.get('arguments'), ensure_ascii=False)}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _decision(asked: AskedQuestion) -> str:
    if asked.answer is None:
        return ""
    said = asked.answer.value.get("decision", "") if isinstance(asked.answer.value, dict) else ""
    return f"{said} by {asked.answer.by}" if asked.answer.by else str(said)
