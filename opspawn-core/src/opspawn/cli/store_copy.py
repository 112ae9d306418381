"""`opspawn store copy`: everything from one store to another, while both are stopped."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import cast

import click

from opspawn.cli.assemble import run
from opspawn.cli.output import configuration, json_option, print_json, say
from opspawn.config import Loaded
from opspawn.contracts.plugins import PluginConfig, StorePlugin
from opspawn.errors import ConfigError, InvalidInput
from opspawn.ops.moving import Copied
from opspawn.plugins import Plugins

_TOLD_EVERY_S = 2.0
_HELP = "A store: its name, with its settings in [plugins.NAME], or an address."


@click.command("copy")
@click.option("--from", "origin", metavar="STORE", required=True, help=_HELP)
@click.option("--to", "goal", metavar="STORE", required=True, help="The same; empty, or an unfinished copy.")
@json_option
@click.pass_context
def copy(context: click.Context, origin: str, goal: str, as_json: bool) -> None:
    """Copy everything from one store to another: tasks with their journals, sessions, agents, schedules, all.

    A STORE is the name of one, such as redis, or an address: sqlite:///ABSOLUTE/PATH or sqlite:PATH,
    redis://HOST:PORT/DB, rediss://…, unix://…, these with ?namespace=NAME if need be. What an address does not say,
    such as a password, stands in the section of that store in opspawn.toml.

    Stop everything that uses either store first; one that is in use is refused. The copy is verified by count and
    digest. If it is interrupted, repeat it. The store that is copied stays as it is.
    """
    context.exit(run(_copy(configuration(), origin, goal, as_json)))


async def _copy(loaded: Loaded, origin: str, goal: str, as_json: bool) -> int:
    from opspawn.opening import load_plugins, open_as_it_is
    from opspawn.ops.moving import copy as copy_all

    plugins = load_plugins(loaded)
    ends = [_end(plugins, loaded, *one) for one in (("--from", origin), ("--to", goal))]
    if ends[0] == ends[1]:
        raise InvalidInput("--from and --to are the same store.", remedy="Name two different ones.")
    record, section = ends[0]
    missing = None if record.nothing_yet is None else record.nothing_yet(section, loaded.settings.data)
    if missing is not None:
        raise ConfigError(f"--from: {missing}", remedy="Name the store that is there.")
    async with AsyncExitStack() as stack:
        stores = []
        for record, section in ends:
            stores.append(await open_as_it_is(loaded, record, section))
            stack.push_async_callback(stores[-1].aclose)
        told = _teller()
        done = await copy_all(stores[0], stores[1], _shown(origin), told)
    if as_json:
        parts = {name: asdict(part) for name, part in done.parts.items()}
        print_json({"from": _shown(origin), "to": _shown(goal), "already": done.already, "parts": parts})
    else:
        say(
            f"{_summary(done)} {_shown(origin)} is as it was; to go on there, {_how_to_go_on(loaded, ends[1][0], goal)}"
        )
    return 0


def _end(plugins: Plugins, loaded: Loaded, option: str, named: str) -> tuple[StorePlugin, PluginConfig]:
    """The store that is meant, and its settings. Raises: ConfigError; PluginError."""
    if ":" not in named:
        record = cast(StorePlugin, plugins.get("store", named))
        return record, plugins.section(record, loaded.sections)
    records = [cast(StorePlugin, record) for record in plugins.records("store")]
    for record in records:
        values = None if record.from_address is None else record.from_address(named)
        if values is not None:
            section = {**loaded.sections.get(record.name, {}), **values}
            return record, plugins.section(record, {**loaded.sections, record.name: section})
    known = ", ".join(record.name for record in records)
    raise InvalidInput(
        f"{option}: no store that is installed has addresses like {_shown(named)!r}.",
        remedy=f"Write e.g. sqlite:///var/opspawn.db or redis://127.0.0.1:6379/0; installed are {known}.",
    )


def _how_to_go_on(loaded: Loaded, record: StorePlugin, goal: str) -> str:
    """What to write into opspawn.toml, and what to take out of it."""
    values = {} if ":" not in goal or record.from_address is None else record.from_address(goal) or {}
    keys = [f'{key} = "{_shown(str(value))}"' for key, value in values.items() if value]
    section = loaded.sections.get(record.name, {})
    without = [key for key, value in values.items() if not value and section.get(key)]
    inside = f" and, in [plugins.{record.name}], {', '.join(keys)}" if keys else ""
    out = f", and take out {', '.join(without)}" if without else ""
    return f'write store = "{record.name}"{inside} into opspawn.toml{out}.'


def _shown(named: str) -> str:
    """An address without user and password."""
    return re.sub(r"://[^/?#]*@", "://", named)


def _teller() -> Callable[[Mapping[str, int]], None]:
    last = time.monotonic()

    def told(counts: Mapping[str, int]) -> None:
        nonlocal last
        if time.monotonic() - last >= _TOLD_EVERY_S:
            last = time.monotonic()
            say(f"{counts['tasks']:,} tasks, {counts['records']:,} records, {counts['events']:,} events …", dim=True)

    return told


def _summary(done: Copied) -> str:
    tasks, records, events = (done.parts[name].count for name in ("tasks", "records", "events"))
    what = f"{tasks:,} tasks, {records:,} records and {events:,} events"
    if done.already:
        return f"Nothing to do: all {what} are there already, verified."
    return f"Copied {what}, and verified them."
