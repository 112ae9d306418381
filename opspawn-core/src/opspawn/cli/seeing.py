"""`opspawn tasks why`, and `opspawn workers`."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from opspawn.cli.assemble import existing_store, run
from opspawn.cli.output import configuration, json_option, print_json, print_text
from opspawn.cli.tables import print_table
from opspawn.config import Loaded
from opspawn.contracts.seeing import WorkerInfo
from opspawn.contracts.store import TaskState
from opspawn.ops.presence import workers as all_workers
from opspawn.ops.why.why import why as why_of
from opspawn.views import WhyView, WorkerView


@click.command()
@click.argument("id")
@json_option
@click.pass_context
def why(context: click.Context, id: str, as_json: bool) -> None:
    """Say what a task waits for, and when that ends."""

    async def main(loaded: Loaded) -> int:
        async with existing_store(loaded) as store:
            found = await why_of(store, id)
        if as_json:
            print_json(WhyView.of(found).to_json())
            return 0
        print_text(f"Task {found.task} ({found.handler}) {TaskState(found.state).words}.")
        for wait in found.waits:
            print_text(f"  {wait.what}")
            if wait.remedy is not None:
                print_text(f"    {wait.remedy}")
        return 0

    context.exit(run(main(configuration())))


@click.command()
@json_option
@click.pass_context
def workers(context: click.Context, as_json: bool) -> None:
    """List the workers: what each takes, how busy it is, and when it last told of itself."""

    async def main(loaded: Loaded) -> int:
        async with existing_store(loaded) as store:
            found = await all_workers(store)
        now = datetime.now(UTC)
        if as_json:
            print_json([WorkerView.of(worker, now).to_json() for worker in found])
            return 0
        heads = ["id", "state", "busy", "queues", "handlers", "process", "version", "seen"]
        rows = [
            [
                worker.id,
                _state(worker, now),
                f"{worker.running}/{worker.slots}",
                ", ".join(worker.queues),
                ", ".join(worker.handlers) + (f", {worker.more_handlers} more" if worker.more_handlers else ""),
                f"{worker.host}:{worker.pid}",
                worker.version,
                worker.seen,
            ]
            for worker in found
        ]
        print_table(heads, rows, empty="No worker is there. Start one: opspawn serve, or opspawn worker.")
        return 0

    context.exit(run(main(configuration())))


def _state(worker: WorkerInfo, now: datetime) -> str:
    return "gone" if not worker.alive(now) else "draining" if worker.draining else "working"
