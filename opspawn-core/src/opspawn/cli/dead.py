"""`opspawn tasks dead`, `retry` and `fallback`: what to do about tasks that failed and have no attempt left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from opspawn.cli.assemble import find_app, run
from opspawn.cli.deciding import brief, how_to_run, tell, with_engine
from opspawn.cli.moments import moment
from opspawn.cli.named import named
from opspawn.cli.output import configuration, json_option, print_json, say
from opspawn.cli.tables import print_table
from opspawn.cli.views import task_json
from opspawn.contracts.transport import DeadQuery
from opspawn.errors import InvalidInput
from opspawn.host import Host
from opspawn.ops.engine.dead import MAX_BULK
from opspawn.ops.engine.engine import Engine

F = TypeVar("F", bound=Callable[..., Any])

_FILTERS = [
    click.option("--handler", callback=named, help="Only tasks of this handler, e.g. workflow/triage."),
    click.option("--agent", callback=named, help="Only tasks of this agent."),
    click.option("--queue", callback=named, help="Only tasks of this queue."),
    click.option(
        "--error-type",
        callback=named,
        help="Only tasks that failed with this type of error, e.g. rate_limited or poison.",
    ),
    click.option(
        "--since", help="Only those that failed after a time (2026-11-20T12:00), or so long ago (10m, 2h, 1d)."
    ),
    click.option("--until", help="Only those that failed before a time, written in the same ways."),
]


def _filters(command: F) -> F:
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def _query(given: dict[str, Any]) -> DeadQuery:
    return DeadQuery(
        handler=given["handler"],
        agent=given["agent"],
        queue=given["queue"],
        error_type=given["error_type"],
        ended_after=moment(given["since"], "--since"),
        ended_before=moment(given["until"], "--until"),
    )


@click.command()
@_filters
@click.option(
    "--limit", type=click.IntRange(1, MAX_BULK), default=50, show_default=True, help="How many at most, newest first."
)
@json_option
@click.pass_context
def dead(context: click.Context, /, limit: int, as_json: bool, **given: Any) -> None:
    """List what failed, has no attempt left, and was not retried since."""
    query = _query(given)

    async def act(engine: Engine) -> None:
        tasks, more = await engine.all_dead(query, limit)
        if as_json:
            print_json([task_json(task) for task in tasks])
            return
        rows = [[t.id, t.handler, (t.error or {}).get("type", ""), str(t.attempt), t.ended, brief(t)] for t in tasks]
        print_table(["id", "handler", "error", "failures", "failed", "why"], rows)
        if not rows:
            say("Nothing is dead.")
        if more:
            say("There are more: raise --limit, or filter.")

    with_engine(context, act)


@click.command()
@click.argument("id", required=False)
@click.option(
    "--all", "all_of", is_flag=True, help="Retry all the dead, or all that the filters name; see 'opspawn tasks dead'."
)
@_filters
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_BULK),
    default=100,
    show_default=True,
    help="With --all or filters: how many at most.",
)
@click.option("--from-scratch", is_flag=True, help="Keep nothing: run every step again.")
@click.option("--retries", type=click.IntRange(0, 999), help="How often it may be tried again by itself.")
@json_option
@click.pass_context
def retry(
    context: click.Context,
    /,
    id: str | None,
    all_of: bool,
    limit: int,
    from_scratch: bool,
    retries: int | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Run a failed or cancelled task again, as a new task that keeps what succeeded; let a paused one go on.

    \b
    opspawn tasks retry ID
    opspawn tasks retry --error-type rate_limited --since 2h
    opspawn tasks retry --all
    """
    several = all_of or any(given.values())
    if (id is None) != several:
        raise InvalidInput(
            "Give either the id of one task, or filters, or --all for whatever is dead.",
            remedy="See 'opspawn tasks dead'.",
        )
    query = _query(given)

    async def act_one(engine: Engine) -> None:
        task = await engine.retry(str(id), retries, from_scratch=from_scratch)
        tell(task, f"Task {task.id} is queued.{how_to_run(task)}", as_json)

    async def act_all(engine: Engine) -> None:
        tasks, more = await engine.retry_all(
            query, everything=all_of, limit=limit, from_scratch=from_scratch, retry_count=retries
        )
        if as_json:
            print_json([task_json(task) for task in tasks])
        else:
            say(f"{len(tasks)} tasks are queued.{' There are more: repeat the command.' if more else ''}")

    with_engine(context, act_all if several else act_one)


@click.command()
@click.argument("id")
@click.option("--handler", help="Whom to ask, e.g. agent/backup; by default the fallback that the task names.")
@click.option("--app", help="The app that has it; without it, `app` of opspawn.toml.")
@json_option
@click.pass_context
def fallback(context: click.Context, id: str, handler: str | None, app: str | None, as_json: bool) -> None:
    """Ask another handler about a dead task: a new task, which gets its input and its error."""
    loaded = configuration()

    async def main() -> int:
        async with Host.open(find_app(app, loaded), loaded=loaded, worker=False) as host:
            task = await host.fallback_task(id, handler)
            tell(task, f"Task {task.id} is queued.{how_to_run(task)}", as_json)
        return 0

    context.exit(run(main()))
