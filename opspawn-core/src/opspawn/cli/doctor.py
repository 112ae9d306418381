"""`opspawn doctor`: is everything as it should be, and what to do if it is not."""

from __future__ import annotations

from dataclasses import asdict

import click

from opspawn.cli.assemble import run
from opspawn.cli.output import configuration, json_option, print_json, say
from opspawn.cli.tellings import print_findings
from opspawn.contracts.store import Finding
from opspawn.errors import ConfigError


@click.command()
@click.option("--invariants", is_flag=True, help="Also check the whole journal against what is promised; reads it all.")
@json_option
@click.pass_context
def doctor(context: click.Context, invariants: bool, as_json: bool) -> None:
    """Look at everything and say what is wrong, each with a remedy. Exit code 1 if there is an error."""
    context.exit(run(_look(invariants, as_json)))


async def _look(invariants: bool, as_json: bool) -> int:
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
        from opspawn.cli.checkups import examine

        async for part in examine(loaded, invariants=invariants):
            take(part)
    levels = [finding.level for _, finding in found]
    errors, warnings = levels.count("error"), levels.count("warning")
    if as_json:
        print_json([{"part": part, **asdict(finding)} for part, finding in found])
    else:
        say(f"Errors: {errors}. Warnings: {warnings}.")
    return int(errors > 0)
