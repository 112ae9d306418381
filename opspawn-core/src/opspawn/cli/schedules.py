"""`opspawn schedules`: what is submitted when its time comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import click

from opspawn.cli.assemble import find_app, run, start_logs
from opspawn.cli.deciding import tell, with_store
from opspawn.cli.enqueue import labels_of
from opspawn.cli.naming import handler_of, input_of
from opspawn.cli.output import configuration, json_option, print_json, print_text, say
from opspawn.cli.tables import print_table
from opspawn.config.durations import span_s
from opspawn.contracts.schedule import Schedule, ScheduleStatus
from opspawn.contracts.store import Store
from opspawn.errors import InvalidInput
from opspawn.host import Host
from opspawn.ops.schedules.schedules import StoredSchedules
from opspawn.schedule_views import ScheduleView, times_in_words


@click.group()
def schedules() -> None:
    """List, show, add, pause, resume, remove schedules, and run one now."""


@schedules.command("list")
@json_option
@click.pass_context
def list_schedules(context: click.Context, as_json: bool) -> None:
    """List schedules, by name."""

    async def act(kept: StoredSchedules) -> None:
        found = await kept.all()
        if as_json:
            print_json([ScheduleView.of(one).to_json() for one in found])
            return
        rows = [
            [one.schedule.name, one.state, one.next, one.schedule.run, times_in_words(one.schedule), one.last]
            for one in found
        ]
        print_table(["name", "state", "next", "runs", "when", "last"], rows, empty="There are no schedules.")

    _at(context, act)


@schedules.command()
@click.argument("name")
@json_option
@click.pass_context
def show(context: click.Context, name: str, as_json: bool) -> None:
    """Show one schedule."""

    async def act(kept: StoredSchedules) -> None:
        _print(await kept.get(name), as_json)

    _at(context, act)


@schedules.command(context_settings={"ignore_unknown_options": False})
@click.argument("name")
@click.argument("handler")
@click.argument("words", nargs=-1, metavar="[INPUT]")
@click.option("--cron", help='"MINUTE HOUR DAY MONTH WEEKDAY", and seconds as a sixth field before them.')
@click.option("--every", metavar="SPAN", help="A span such as 90s, 10m, 2h or 1d.")
@click.option("--at", metavar="TIME", help="One time with its offset, e.g. 2026-12-01T09:00:00+01:00.")
@click.option("--zone", default="UTC", show_default=True, help="The time zone of --cron, e.g. Europe/Berlin.")
@click.option("--overlap", default="skip", show_default=True, help="skip, queue or allow, while the last one runs.")
@click.option("--catch-up", default="once", show_default=True, help="skip, once or all, of times that were missed.")
@click.option("--at-most", type=int, default=100, show_default=True, help="How many --catch-up all makes up for.")
@click.option("--paused", is_flag=True, help="Begin paused.")
@click.option("--queue", default="default", show_default=True, help="Which workers take its tasks.")
@click.option("--priority", type=int, default=0, help="A head start of 60 seconds per unit.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="A mark of its tasks; repeatable.")
@json_option
@click.pass_context
def add(context: click.Context, /, name: str, handler: str, words: tuple[str, ...], **options: Any) -> None:
    """Let HANDLER run with INPUT when its time comes; a schedule of that NAME is changed.

    HANDLER and INPUT are those of `opspawn run`.
    """
    as_json, labels = options.pop("as_json"), labels_of(options.pop("labels"))
    every, at, paused = options.pop("every"), options.pop("at"), options.pop("paused")
    schedule = Schedule(
        name,
        handler_of(handler),
        input_of([handler, *words]),
        every_s=_span(every),
        at=_moment(at),
        enabled=not paused,
        labels=labels,
        **options,
    )

    async def act(host: Host) -> None:
        _said(await host.schedules.add(schedule), as_json, "Schedule {} is kept")

    _with_host(context, act)


@schedules.command()
@click.argument("name")
@json_option
@click.pass_context
def pause(context: click.Context, name: str, as_json: bool) -> None:
    """Let nothing come of a schedule until it is resumed."""

    async def act(kept: StoredSchedules) -> None:
        _said(await kept.pause(name), as_json, "Schedule {} is paused")

    _at(context, act)


@schedules.command()
@click.argument("name")
@json_option
@click.pass_context
def resume(context: click.Context, name: str, as_json: bool) -> None:
    """Let a paused schedule go on with the next time that comes."""

    async def act(kept: StoredSchedules) -> None:
        _said(await kept.resume(name), as_json, "Schedule {} goes on")

    _at(context, act)


@schedules.command()
@click.argument("name")
@click.pass_context
def remove(context: click.Context, name: str) -> None:
    """Forget a schedule; its tasks stay."""

    async def act(kept: StoredSchedules) -> None:
        await kept.remove(name)
        say(f"Schedule {name} is removed.")

    _at(context, act)


@schedules.command("run")
@click.argument("name")
@json_option
@click.pass_context
def run_now(context: click.Context, name: str, as_json: bool) -> None:
    """Submit the task of a schedule now, beside its times, and print its id."""

    async def act(host: Host) -> None:
        task = await host.schedules.run(name)
        if not as_json:
            print_text(task.id)
        tell(task, f"Task {task.id} {task.state.words}.", as_json)

    _with_host(context, act)


def _at(context: click.Context, act: Callable[[StoredSchedules], Awaitable[None]]) -> None:
    async def refuse(*_: Any) -> Any:
        raise InvalidInput("This command accepts no new tasks.")

    async def with_schedules(store: Store, engine: Any) -> None:
        await act(StoredSchedules(store, refuse, refuse))

    with_store(context, with_schedules)


def _with_host(context: click.Context, act: Callable[[Host], Awaitable[None]]) -> None:
    loaded = configuration()
    start_logs(loaded)

    async def main() -> int:
        async with Host.open(find_app(None, loaded), loaded=loaded, worker=False) as host:
            await act(host)
        return 0

    context.exit(run(main()))


def _span(text: str | None) -> float | None:
    if text is None or (seconds := span_s(text)) is not None:
        return None if text is None else seconds
    raise InvalidInput(f"is {text!r}; a span of time is meant.", argument="every", remedy="Write 90s, 10m, 2h or 1d.")


def _moment(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        remedy = "Write e.g. 2026-12-01T09:00:00+01:00."
        raise InvalidInput(f"is {text!r}; a time is meant.", argument="at", remedy=remedy) from None


def _said(status: ScheduleStatus, as_json: bool, words: str) -> None:
    if as_json:
        print_json(ScheduleView.of(status).to_json())
        return
    coming = status.state == "active" and status.next is not None
    following = f"; next at {status.next:%Y-%m-%d %H:%M:%S} UTC" if coming else ""
    say(f"{words.format(status.schedule.name)}{following}.")


def _print(status: ScheduleStatus, as_json: bool) -> None:
    told = ScheduleView.of(status).to_json()
    if as_json:
        print_json(told)
        return
    for name, value in told.items():
        if value not in (None, {}, ""):
            print_text(f"{name:<16} {value}")
