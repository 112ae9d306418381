"""`opspawn tasks`: look at tasks, and decide about them."""

from __future__ import annotations

import json

import click

from opspawn.cli.dead import dead, fallback, retry
from opspawn.cli.deciding import brief, how_to_run, tell, who, with_engine
from opspawn.cli.enqueue import dispatch, enqueue, labels_of
from opspawn.cli.journal import journal
from opspawn.cli.jsons import json_value
from opspawn.cli.named import named
from opspawn.cli.output import json_option, print_json, print_text, say
from opspawn.cli.seeing import why
from opspawn.cli.signals import pause, resume, signal
from opspawn.cli.tables import print_table
from opspawn.cli.trace import trace
from opspawn.cli.views import task_json, tell_halt
from opspawn.contracts.store import Query, TaskState
from opspawn.errors import InvalidInput
from opspawn.ops.engine.doubts import open_doubts
from opspawn.ops.engine.engine import Engine
from opspawn.ops.unserved import waits_long


@click.group()
def tasks() -> None:
    """Enqueue, list, show, explain, cancel, pause, resume, signal, retry and resolve tasks."""


@tasks.command("list")
@click.option("--state", type=click.Choice([str(state) for state in TaskState]), help="Only tasks in this state.")
@click.option("--agent", callback=named, help="Only tasks of this agent.")
@click.option("--handler", callback=named, help="Only tasks of this handler, e.g. workflow/triage.")
@click.option("--root", callback=named, help="Only tasks of this tree.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Only tasks with this label; repeatable.")
@click.option(
    "--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="How many at most, newest first."
)
@json_option
@click.pass_context
def list_tasks(
    context: click.Context,
    state: str | None,
    agent: str | None,
    handler: str | None,
    root: str | None,
    labels: tuple[str, ...],
    limit: int,
    as_json: bool,
) -> None:
    """List tasks, newest first."""
    asked = {"state": state, "agent": agent, "handler": handler, "root": root}
    where = {field: value for field, value in asked.items() if value}
    query = Query(where=where, labels=labels_of(labels), limit=limit)

    async def act(engine: Engine) -> None:
        page = await engine.tasks(query)
        if as_json:
            print_json([task_json(task) for task in page.items])
            return
        rows = [[t.id, t.handler, str(t.state), str(t.attempt), t.created, brief(t)] for t in page.items]
        print_table(["id", "handler", "state", "failures", "created", "result"], rows)
        if not rows:
            say("No such tasks.")

    with_engine(context, act)


@tasks.command()
@click.argument("id")
@json_option
@click.pass_context
def show(context: click.Context, id: str, as_json: bool) -> None:
    """Show one task; of one in doubt, what to decide."""

    async def act(engine: Engine) -> None:
        task = await engine.task(id)
        shown = task_json(task, await engine.answered(task))
        if as_json:
            print_json(shown)
            return
        for name, value in shown.items():
            if value not in (None, {}, [], ""):
                print_text(f"{name:<10} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")
        if task.state in (TaskState.IN_DOUBT, TaskState.PAUSED):
            print_text(f"\n{tell_halt(task)}")
        elif waits_long(task):
            print_text(
                f"\nNo worker has taken it so far. Is there one that serves the queue {task.queue!r}, "
                f"and whose app has {task.handler}?{how_to_run(task)}"
            )

    with_engine(context, act)


@tasks.command()
@click.argument("id")
@json_option
@click.pass_context
def cancel(context: click.Context, id: str, as_json: bool) -> None:
    """Ask for the end of a task, its children first."""

    async def act(engine: Engine) -> None:
        task = await engine.cancel(id)
        done = "is cancelled" if task.state is TaskState.CANCELLED else "is asked to end"
        tell(task, f"Task {id} {done}.", as_json)

    with_engine(context, act)


@tasks.command()
@click.argument("id")
@click.option("--happened", metavar="JSON", help="It happened, and returned this.")
@click.option("--not-happened", is_flag=True, help="It did not happen: do it, as if for the first time.")
@click.option("--again", is_flag=True, help="Do it again, even if it happened.")
@click.option("--fail", is_flag=True, help="Treat the step as failed.")
@click.option("--step", metavar="KEY", help="Which step, where several are in doubt.")
@click.option("--by", metavar="NAME", help="Who decides, for the journal; your login name by default.")
@json_option
@click.pass_context
def resolve(
    context: click.Context,
    id: str,
    happened: str | None,
    not_happened: bool,
    again: bool,
    fail: bool,
    step: str | None,
    by: str | None,
    as_json: bool,
) -> None:
    """Decide about a task in doubt: exactly one of --happened, --not-happened, --again, --fail."""
    given = {"happened": happened is not None, "not-happened": not_happened, "again": again, "fail": fail}
    outcomes = [name for name, chosen in given.items() if chosen]
    if len(outcomes) != 1:
        raise InvalidInput(
            "Give exactly one of --happened, --not-happened, --again and --fail.",
            remedy=f"See 'opspawn tasks show {id}'.",
        )
    result = json_value("--happened", happened) if happened is not None else None

    async def act(engine: Engine) -> None:
        task = await engine.resolve(id, outcomes[0], result, key=step, by=by or who())
        left = ", ".join(str(doubt["key"]) for doubt in open_doubts(task))
        goes_on = f"Task {id} goes on.{how_to_run(task)}"
        tell(task, f"Decided. Still in doubt: {left}." if left else goes_on, as_json)

    with_engine(context, act)


for command in (journal, trace, why, enqueue, dispatch, pause, resume, signal, dead, retry, fallback):
    tasks.add_command(command)
