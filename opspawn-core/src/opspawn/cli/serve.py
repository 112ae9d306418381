"""`opspawn serve` and `opspawn worker`: the long-running processes."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from opspawn.cli.assemble import find_app, on_signals, run, start_logs, stopping_words
from opspawn.cli.output import configuration, say
from opspawn.cli.process import settle_in
from opspawn.config import Loaded
from opspawn.contracts.events import Event
from opspawn.host import Host
from opspawn.logs import log_event
from opspawn.ops.engine.reading import SETTLED

#: What callers ask for, and what ends a claim.
_ASKED = {"task.accepted", "task.resolved", "cancel.requested"}
_LEFT = {f"task.{state}" for state in (*SETTLED, "waiting", "released", "retry")}


@click.command()
@click.argument("app", required=False)
@click.option("--host", help="Address to listen on (127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on (8000); 0 takes a free one.")
@click.option("--no-worker", is_flag=True, help="Only accept and show; leave the running to 'opspawn worker'.")
@click.pass_context
def serve(context: click.Context, app: str | None, host: str | None, port: int | None, no_worker: bool) -> None:
    """Serve APP: its transports and, unless told otherwise, a worker, in one process.

    APP is module:attribute or file.py; without it, `app` of opspawn.toml. The first Ctrl-C stops gracefully, the
    second at once.
    """
    loaded = configuration({"plugins.rest.host": host, "plugins.rest.port": port})
    context.exit(run(live(app, loaded, transports=True, worker=not no_worker)))


@click.command()
@click.argument("app", required=False)
@click.pass_context
def worker(context: click.Context, app: str | None) -> None:
    """Run tasks of APP, without any way in from outside; as many of these as you like share one store."""
    context.exit(run(live(app, configuration(), transports=False, worker=True)))


async def live(app: str | None, loaded: Loaded, **parts: Any) -> int:
    """Run an app until somebody stops the process; `parts` are those of `Host.open`. Gives the exit code."""
    start_logs(loaded)
    async with Host.open(find_app(app, loaded), loaded=loaded, **parts) as host:
        stopping = asyncio.Event()

        def stop() -> None:
            host.stop()
            stopping.set()

        settle_in()
        on_signals(stop, first=stopping_words(loaded) if parts["worker"] else "Stopping.")
        _greet(host)
        logging = asyncio.create_task(_log_events(host))
        ended = asyncio.create_task(host.working()) if parts["worker"] else asyncio.create_task(stopping.wait())
        await asyncio.wait({ended})
        logging.cancel()
        ended.result()
    return 0


def _greet(host: Host) -> None:
    agents, workflows = [agent.name for agent in host.agents()], host.workflows()
    say(f"agents: {', '.join(agents) or 'none'}   workflows: {', '.join(workflows) or 'none'}")
    for transport in host.transports:
        say(f"Opspawn listens on {transport.address}   (stop with Ctrl-C)")
    if not host.transports:
        say("Opspawn works; no transport is open   (stop with Ctrl-C)")


async def _log_events(host: Host) -> None:
    """Log what happens to the tasks that this process runs; one that lets callers in also logs what they ask for."""
    mine: set[str] = set()
    async for event in host.tail():
        if not isinstance(event, Event):
            continue
        if event.task is not None and event.type == "task.claimed":
            claimed = host.worker is not None and event.data.get("worker") == host.worker.id
            (mine.add if claimed else mine.discard)(event.task)
        if event.task in mine or (host.transports and event.type in _ASKED):
            log_event(event)
        if event.type in _LEFT:
            mine.discard(event.task)
