"""`opspawn doctor`: is everything as it should be, and what to do if it is not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict

import click

from opspawn.cli.assemble import existing_store, run
from opspawn.cli.output import configuration, installed, json_option, print_json, say
from opspawn.cli.tellings import print_findings
from opspawn.config import Loaded
from opspawn.contracts.store import Finding, Store
from opspawn.errors import ConfigError, OpspawnError

Part = tuple[str, Finding]


@click.command()
@click.option("--invariants", is_flag=True, help="Also check the whole journal against what is promised; reads it all.")
@click.option("--embed", is_flag=True, help="Also have the configured embedder make a vector, which may cost.")
@json_option
@click.pass_context
def doctor(context: click.Context, invariants: bool, embed: bool, as_json: bool) -> None:
    """Look at everything and say what is wrong, each with a remedy. Exit code 1 if there is an error."""
    context.exit(run(_look(invariants, embed, as_json)))


async def _look(invariants: bool, embed: bool, as_json: bool) -> int:
    found: list[tuple[str, Finding]] = []

    def take(part: tuple[str, Finding]) -> None:
        found.append(part)
        if not as_json:
            print_findings([part])

    try:
        loaded = configuration()
    except ConfigError as error:
        take(("configuration", Finding("error", error.message, error.remedy)))
    else:
        async for part in _examine(loaded, invariants, embed):
            take(part)
    levels = [finding.level for _, finding in found]
    errors, warnings = levels.count("error"), levels.count("warning")
    if as_json:
        print_json([{"part": part, **asdict(finding)} for part, finding in found])
    else:
        say(f"Errors: {errors}. Warnings: {warnings}.")
    return int(errors > 0)


async def _examine(loaded: Loaded, invariants: bool, embed: bool) -> AsyncIterator[Part]:
    """Everything; what cannot be looked at is a finding itself."""
    from opspawn.checkups import examine_process, examine_store

    async for part in examine_process(loaded, installed(loaded)):
        yield part
    async for part in _waker(loaded):
        yield part
    async for part in _memory(loaded, embed):
        yield part
    try:
        async with existing_store(loaded) as store:
            async for part in examine_store(store):
                yield part
            if invariants:
                async for part in _invariants(store):
                    yield part
    except ConfigError as error:
        yield "store", Finding("warning", error.message, error.remedy)
    except OpspawnError as error:
        yield "store", Finding("error", error.message, error.remedy)


async def _waker(loaded: Loaded) -> AsyncIterator[Part]:
    from opspawn.checkups import examine_waker
    from opspawn.opening import open_waker

    try:
        waker = await open_waker(installed(loaded), loaded)
    except OpspawnError as error:
        yield "waker", Finding("error", error.message, error.remedy)
        return
    try:
        async for part in examine_waker(waker):
            yield part
    finally:
        await waker.aclose()


async def _memory(loaded: Loaded, embed: bool) -> AsyncIterator[Part]:
    from opspawn.cli.remembered import memories_of
    from opspawn.memory_checkup import examine_memory

    memories = memories_of(loaded, installed(loaded))
    try:
        async for part in examine_memory(memories, embed=embed):
            yield part
    finally:
        await memories.aclose()


async def _invariants(store: Store) -> AsyncIterator[Part]:
    from opspawn.testing.invariants import RULES, find_violations, read_everything

    tasks, events = await read_everything(store)
    violations = find_violations(tasks, events)
    for violation in violations[:50]:
        yield "invariants", Finding("error", str(violation), "Keep a backup, and report it with 'opspawn logs'.")
    if not violations:
        words = f"{len(events):,} events of {len(tasks):,} tasks keep all {len(RULES)} promises that they can show."
        yield "invariants", Finding("ok", words)
