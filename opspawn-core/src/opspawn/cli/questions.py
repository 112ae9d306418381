"""`opspawn questions`: see what runs ask, and answer it."""

from __future__ import annotations

import json
from typing import Any

import click

from opspawn.cli.deciding import who, with_engine
from opspawn.cli.named import named
from opspawn.cli.output import json_option, print_json, print_text, say
from opspawn.cli.tables import print_table
from opspawn.contracts.question import AskedQuestion
from opspawn.contracts.store import Query
from opspawn.errors import InvalidInput
from opspawn.ops.engine.engine import Engine
from opspawn.views import QuestionView

COLUMNS = ("id", "task", "state", "to", "expires", "question", "answers")
STATES = ("open", "answered", "expired", "withdrawn", "any")


@click.group()
def questions() -> None:
    """List and answer what runs ask people."""


@questions.command("list")
@click.option("--state", type=click.Choice(STATES), default="open", show_default=True, help="Only questions like this.")
@click.option("--task", callback=named, help="Only questions of this task.")
@click.option("--root", callback=named, help="Only questions of this tree of tasks.")
@click.option("--kind", type=click.Choice(["question", "approval", "plan"]), help="Only questions of this kind.")
@click.option("--to", callback=named, help="Only questions to this role or person.")
@click.option(
    "--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="How many at most, newest first."
)
@json_option
@click.pass_context
def list_questions(
    context: click.Context,
    state: str,
    task: str | None,
    root: str | None,
    kind: str | None,
    to: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List questions, newest first."""
    asked = {"state": None if state == "any" else state, "task": task, "root": root, "kind": kind, "to": to}
    query = Query(where={field: value for field, value in asked.items() if value}, limit=limit)

    async def act(engine: Engine) -> None:
        found = (await engine.questions(query)).items
        if as_json:
            print_json([QuestionView.of(one).to_json() for one in found])
            return
        rows = [
            [one.id, one.task, one.state, one.question.to, one.expires, one.question.text, _wanted(one)]
            for one in found
        ]
        print_table(["id", "task", "state", "to", "expires", "question", "answers"], rows, empty="No such questions.")

    with_engine(context, act)


@questions.command()
@click.argument("id")
@json_option
@click.pass_context
def show(context: click.Context, id: str, as_json: bool) -> None:
    """Show one question."""

    async def act(engine: Engine) -> None:
        shown = QuestionView.of(await engine.question(id)).to_json()
        if as_json:
            print_json(shown)
            return
        for name, value in shown.items():
            if value not in (None, [], ""):
                print_text(f"{name:<12} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")

    with_engine(context, act)


@questions.command()
@click.argument("id")
@click.argument("value")
@click.option("--by", help="Who answers, for the record; your login by default.")
@json_option
@click.pass_context
def answer(context: click.Context, id: str, value: str, by: str | None, as_json: bool) -> None:
    """Answer question ID with VALUE: one of its choices, or JSON; what is not JSON is a text."""

    async def act(engine: Engine) -> None:
        asked = await engine.question(id)
        answered = await engine.answer(id, meant(asked, value), by=by or who())
        if as_json:
            print_json(QuestionView.of(answered).to_json())
        else:
            say(f"Question {id} is answered; task {answered.task} goes on.")

    with_engine(context, act)


def meant(asked: AskedQuestion, text: str) -> Any:
    """What somebody meant who typed the text. Raises: InvalidInput: that is no answer to a plan or an approval."""
    question = asked.question
    if question.kind == "approval" and not text.lstrip().startswith("{"):
        raise InvalidInput(
            f"{asked.id} asks for an approval.",
            remedy=f"Decide with: opspawn approvals approve {asked.id}, or opspawn approvals deny {asked.id}",
        )
    if text in question.choices or (question.schema or {}).get("type") == "string":
        return text
    if question.kind == "plan" and text in ("approve", "revise", "reject"):
        return {"decision": text}
    try:
        return json.loads(text)
    except ValueError:
        if question.kind == "plan":
            raise InvalidInput(
                f"{text[:80]!r} is no answer to a plan.",
                remedy='Write approve, revise or reject, or JSON: {"decision": "revise", "words": "…"}.',
            ) from None
        return text


def _row(asked: AskedQuestion) -> list[Any]:
    question = asked.question
    return [asked.id, asked.task, asked.state, question.to, asked.expires, question.text, _wanted(asked)]


def _wanted(asked: AskedQuestion) -> str:
    question = asked.question
    if question.kind == "plan":
        return "approve, revise, reject"
    if question.kind == "approval":
        return "opspawn approvals approve, deny"
    if question.choices:
        return ", ".join(one if isinstance(one, str) else json.dumps(one) for one in question.choices)
    return json.dumps(dict(question.schema), ensure_ascii=False) if question.schema else "any"
