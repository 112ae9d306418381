"""`opspawn tasks trace`: a task, its steps and its children as a tree."""

from __future__ import annotations

import click

from opspawn.cli.assemble import existing_store, run
from opspawn.cli.output import configuration, json_option, print_json
from opspawn.config import Loaded
from opspawn.ops.traces import trace_of


@click.command()
@click.argument("id")
@json_option
@click.pass_context
def trace(context: click.Context, id: str, as_json: bool) -> None:
    """Print a task, its steps and its children as a tree, with how long each took; also of one that goes on."""

    async def main(loaded: Loaded) -> int:
        async with existing_store(loaded) as store:
            found = await trace_of(store, id)
        if as_json:
            print_json(found.to_json())
        else:
            from opspawn.cli.tree import print_trace

            print_trace(found)
        return 0

    context.exit(run(main(configuration())))
