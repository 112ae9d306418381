"""`opspawn tasks signal`, `pause` and `resume`."""

from __future__ import annotations

import click

from opspawn.cli.deciding import how_to_run, tell, who, with_engine
from opspawn.cli.jsons import json_value
from opspawn.cli.output import json_option
from opspawn.contracts.store import TaskState
from opspawn.ops.engine.engine import Engine


@click.command()
@click.argument("id")
@click.argument("name")
@click.option("--data", metavar="JSON", default="null", help="What the run gets; null by default.")
@click.option("--id", "signal_id", help="Tells this signal from others: the same id again is the same signal.")
@json_option
@click.pass_context
def signal(context: click.Context, id: str, name: str, data: str, signal_id: str | None, as_json: bool) -> None:
    """Send task ID the signal NAME, whether it waits for it already or will later."""
    plain = json_value("--data", data)

    async def act(engine: Engine) -> None:
        task = await engine.signal(id, name, plain, id=signal_id, by=who())
        tell(task, f"Task {id} has the signal.{how_to_run(task)}", as_json)

    with_engine(context, act)


@click.command()
@click.argument("id")
@json_option
@click.pass_context
def pause(context: click.Context, id: str, as_json: bool) -> None:
    """Let a task and all under it stand still: at once what waits, the rest at its next step."""

    async def act(engine: Engine) -> None:
        task = await engine.pause(id, by=who())
        done = "is paused" if task.state is TaskState.PAUSED else "pauses at its next step"
        tell(task, f"Task {id} {done}. Let it go on with: opspawn tasks resume {id}", as_json)

    with_engine(context, act)


@click.command()
@click.argument("id")
@json_option
@click.pass_context
def resume(context: click.Context, id: str, as_json: bool) -> None:
    """Let a paused task go on where it was, and what was paused with it."""

    async def act(engine: Engine) -> None:
        task = await engine.resume(id, by=who())
        tell(task, f"Task {id} goes on.{how_to_run(task)}", as_json)

    with_engine(context, act)
