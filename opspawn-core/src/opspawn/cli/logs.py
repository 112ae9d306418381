"""`opspawn logs`: what happened, filtered, and live."""

from __future__ import annotations

import asyncio
from functools import partial

import click

from opspawn.cli.assemble import existing_store, on_signals, run
from opspawn.cli.moments import moment
from opspawn.cli.named import named
from opspawn.cli.output import configuration, json_option
from opspawn.config import Loaded
from opspawn.contracts.events import Event
from opspawn.contracts.store import EventQuery, Store
from opspawn.logs import write_event


@click.command()
@click.option("--agent", callback=named, help="Only this agent's events.")
@click.option("--task", callback=named, help="Only this task's events.")
@click.option("--session", callback=named, help="Only this session's events.")
@click.option("--error-type", callback=named, help="Only errors of this type, e.g. rate_limited.")
@click.option("--level", type=click.Choice(["debug", "info", "warning", "error"]), help="Only this level.")
@click.option("--since", help="From a time (2026-11-20T12:00) or so long ago (10m, 2h, 1d).")
@click.option("--until", help="Up to a time, written in the same ways.")
@click.option(
    "-n", "limit", type=click.IntRange(1, 1000), default=200, show_default=True, help="How many at most, the newest."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens next, until Ctrl-C.")
@json_option
@click.pass_context
def logs(
    context: click.Context,
    agent: str | None,
    task: str | None,
    session: str | None,
    error_type: str | None,
    level: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    follow: bool,
    as_json: bool,
) -> None:
    """Show what happened, oldest first."""
    query = EventQuery(
        agent=agent,
        task=task,
        session=session,
        error_type=error_type,
        level=level,
        after=moment(since, "--since"),
        before=moment(until, "--until"),
        limit=limit,
        newest=True,
    )
    context.exit(run(_show(configuration(), query, follow, as_json)))


async def _show(loaded: Loaded, query: EventQuery, follow: bool, as_json: bool) -> int:
    async with existing_store(loaded) as store:
        live = store.tail() if follow else None
        shown = await store.events(query)
        if not shown:
            await _refuse_unknown(store, query)
        for event in shown:
            write_event(event, as_json)
        if live is None:
            return 0
        last = shown[-1].position if shown else 0
        current = asyncio.current_task()
        on_signals(partial(_end, current))
        try:
            async for item in live:
                if isinstance(item, Event) and item.position > last and _matches(item, query):
                    write_event(item, as_json)
        except asyncio.CancelledError:
            return 0
    return 0


async def _refuse_unknown(store: Store, query: EventQuery) -> None:
    from opspawn.ops.known import refuse_unknown_agent, refuse_unknown_session, refuse_unknown_task

    if query.task is not None:
        await refuse_unknown_task(store, query.task)
    if query.agent is not None:
        await refuse_unknown_agent(store, query.agent)
    if query.session is not None:
        await refuse_unknown_session(store, query.session)


def _end(task: asyncio.Task[int] | None) -> None:
    if task is not None:
        task.cancel()


def _matches(event: Event, query: EventQuery) -> bool:
    asked = {name: getattr(query, name) for name in ("task", "agent", "session", "error_type", "level")}
    return all(value is None or getattr(event, name) == value for name, value in asked.items())
