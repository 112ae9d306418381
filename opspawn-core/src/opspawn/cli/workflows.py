"""`opspawn workflows`: those of the app, and those that were stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from opspawn.app import App
from opspawn.cli.assemble import find_app, run, start_logs
from opspawn.cli.jsons import json_value
from opspawn.cli.output import configuration, json_option, print_json, print_text, say
from opspawn.cli.tables import print_table
from opspawn.cli.views import task_json
from opspawn.errors import InvalidInput
from opspawn.host import Host
from opspawn.lifecycle_views import WorkflowView


@click.group()
def workflows() -> None:
    """List, show, store and trigger workflows. They are checked against the app that opspawn.toml names."""


@workflows.command("list")
@json_option
@click.pass_context
def list_workflows(context: click.Context, as_json: bool) -> None:
    """List the workflows of the app and the stored ones."""

    async def act(host: Host) -> None:
        found = [await host.definitions.get(name) for name in host.workflows()]
        if as_json:
            print_json([WorkflowView.of(one).to_json() for one in found])
            return
        rows = [[one.id, one.digest[:12], len(one.versions), one.definition.get("description")] for one in found]
        print_table(["id", "digest", "versions", "description"], rows, empty="There are no workflows.")

    _with_host(context, act)


@workflows.command()
@click.argument("id")
@json_option
@click.pass_context
def show(context: click.Context, id: str, as_json: bool) -> None:
    """Show one workflow's definition, as JSON."""

    async def act(host: Host) -> None:
        found = await host.definitions.get(id)
        print_json(WorkflowView.of(found).to_json() if as_json else dict(found.definition))

    _with_host(context, act)


@workflows.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def create(context: click.Context, file: Path, as_json: bool) -> None:
    """Check the definition in FILE (YAML or JSON) and store it under its name."""
    if not file.is_file():
        raise InvalidInput(f"There is no file {file}.", remedy="Name the file of a definition.")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read: {error}.") from error

    async def act(host: Host) -> None:
        kept = await host.definitions.create_workflow(text)
        if as_json:
            print_json(WorkflowView.of(kept).to_json())
        else:
            say(f"Workflow {kept.id} is stored, version {len(kept.versions)} ({kept.digest[:12]}).")

    _with_host(context, act)


@workflows.command()
@click.argument("id")
@click.argument("inputs", required=False, metavar="[JSON]")
@click.option("--agent", help="On whose behalf.")
@json_option
@click.pass_context
def trigger(context: click.Context, id: str, inputs: str | None, agent: str | None, as_json: bool) -> None:
    """Start a workflow with the inputs JSON, and print its task. A server or worker of the app runs it."""
    given = json_value("JSON", inputs) if inputs is not None else None

    async def act(host: Host) -> None:
        task = await host.submit(f"workflow/{id}", given, agent=agent)
        if as_json:
            print_json(task_json(task))
        else:
            print_text(task.id)

    _with_host(context, act)


def _with_host(context: click.Context, act: Callable[[Host], Awaitable[None]]) -> None:
    loaded = configuration()

    async def main() -> int:
        start_logs(loaded)
        app = find_app(None, loaded) if loaded.settings.app else App()
        async with Host.open(app, loaded=loaded, worker=False) as host:
            await act(host)
        return 0

    context.exit(run(main()))
