"""`opspawn store`: what the store is and how it does, a backup, a copy, and deleting what is old."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from opspawn.cli.assemble import existing_store, run
from opspawn.cli.output import configuration, json_option, print_json, print_text, say
from opspawn.cli.store_copy import copy
from opspawn.cli.tellings import print_findings
from opspawn.config import Loaded
from opspawn.contracts.clock import SYSTEM_CLOCK
from opspawn.contracts.store import Store


@click.group()
def store() -> None:
    """Look at the store, back it up, copy it to another, delete what is old."""


store.add_command(copy)


def _with_store(context: click.Context, act: Callable[[Store, Loaded], Awaitable[int | None]]) -> None:
    loaded = configuration()

    async def main() -> int | None:
        async with existing_store(loaded) as opened:
            return await act(opened, loaded)

    context.exit(run(main()))


@store.command()
@json_option
@click.pass_context
def info(context: click.Context, as_json: bool) -> None:
    """Say which store is configured, where it lies, and how it does. Exit code 1 if something is wrong."""

    async def act(opened: Store, loaded: Loaded) -> int:
        findings = await opened.check()
        if as_json:
            told = {"store": opened.name, "data": loaded.settings.data}
            print_json({**told, "findings": [asdict(finding) for finding in findings]})
        else:
            print_text(f"Store {opened.name}; the folder for local data is {loaded.settings.data}.")
            print_findings((None, finding) for finding in findings)
        return int(any(finding.level == "error" for finding in findings))

    _with_store(context, act)


@store.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_context
def backup(context: click.Context, file: Path) -> None:
    """Copy everything that is committed now to a new FILE, while work goes on."""

    from opspawn.ops.housekeeping import backup as make_backup

    async def act(opened: Store, loaded: Loaded) -> None:
        await make_backup(opened, str(file))
        say(f"Backed up to {file}. To use it, stop everything and put it in the place of the database.")

    _with_store(context, act)


@store.command()
@click.pass_context
def migrate(context: click.Context) -> None:
    """Bring the store to the layout of this version, which every start does by itself, and say so."""

    async def act(opened: Store, loaded: Loaded) -> None:
        layouts = [finding.what for finding in await opened.check() if "layout" in finding.what.lower()]
        print_text(layouts[0] if layouts else f"The store {opened.name} has no layout of its own: nothing to do.")

    _with_store(context, act)


@store.command()
@click.option("--older-than", metavar="SPAN", help="What ended longer ago than this, e.g. 30d; by default [retention].")
@click.option("--keep-at-most", type=click.IntRange(0), help="Keep only so many trees that have ended, the newest.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@json_option
@click.pass_context
def prune(
    context: click.Context, older_than: str | None, keep_at_most: int | None, dry_run: bool, as_json: bool
) -> None:
    """Delete trees of tasks that ended long ago, with their journals, questions and idempotency keys; and what is
    as old: events of agents and sessions, ended sessions, definitions of workflows that no run uses.

    A tree of which anything still goes on is never touched.
    """
    from opspawn.ops.housekeeping import prune_now

    async def act(opened: Store, loaded: Loaded) -> None:
        owner = f"prune on {socket.gethostname()}:{os.getpid()}"
        asked: dict[str, Any] = {"older_than": older_than, "keep_at_most": keep_at_most, "dry_run": dry_run}
        done = await prune_now(opened, loaded.settings.retention, owner, SYSTEM_CLOCK, **asked)
        if as_json:
            print_json({**asdict(done), "dryRun": dry_run})
            return
        would = "Would delete" if dry_run else "Deleted"
        beside = f"questions, keys and other records {done.records:,}, events of no task {done.events:,}"
        say(f"{would}: trees {done.trees:,}, tasks {done.tasks:,}, {beside}.")
        if done.held:
            say(f"Old trees that stay, since a later retry builds on them: {done.held:,}.")

    _with_store(context, act)


@store.command()
@click.pass_context
def acknowledge(context: click.Context) -> None:
    """Say that a person has judged what the store lost, which `opspawn doctor` and `/readyz` tell until then.

    Compare with the outside first: what was lost may be done again, and tasks that were accepted may be gone.
    """
    from opspawn.cli.deciding import who
    from opspawn.contracts.events import NewEvent
    from opspawn.contracts.store import Append, Batch, EventQuery

    async def act(opened: Store, loaded: Loaded) -> None:
        query = EventQuery(types=("store.went_back", "store.acknowledged"), limit=1, newest=True)
        newest = await opened.events(query)
        if not newest or newest[0].type != "store.went_back":
            say("Nothing is known to be lost that was not acknowledged.")
            return
        message = str(newest[0].data.get("message", ""))
        told = {"message": message, "by": f"{who()} on {socket.gethostname()}"}
        await opened.commit(Batch([Append(None, NewEvent("store.acknowledged", told))]))
        say(f"Acknowledged: {message} Within seconds, processes that told of it are ready again.")

    _with_store(context, act)
