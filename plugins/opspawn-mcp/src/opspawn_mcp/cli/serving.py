"""`opspawn mcp serve`: the app as an MCP server, over HTTP or as the subprocess of an editor."""

from __future__ import annotations

import asyncio

import click

from opspawn.cli.assemble import find_app, on_signals, run, start_logs
from opspawn.cli.output import configuration
from opspawn.cli.serve import live
from opspawn.config import Loaded
from opspawn.errors import InvalidInput
from opspawn.host import Host
from opspawn_mcp.cli.opening import section
from opspawn_mcp.serving.stdio import serve_stdio, standard_wire


@click.command("serve")
@click.argument("app", required=False)
@click.option("--stdio", is_flag=True, help="Speak over standard input and output, as the subprocess of an editor.")
@click.option("--host", help="Address to listen on (127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on (8001); 0 takes a free one.")
@click.option("--no-worker", is_flag=True, help="Only accept; leave the running to 'opspawn worker'.")
@click.pass_context
def serve(
    context: click.Context, app: str | None, stdio: bool, host: str | None, port: int | None, no_worker: bool
) -> None:
    """Offer APP to MCP clients, as [plugins.mcp.serve] says.

    APP is module:attribute or file.py; without it, `app` of opspawn.toml. With --stdio nothing but the protocol is
    written to standard output; logs and what the app prints go to standard error.
    """
    if stdio and (host is not None or port is not None):
        raise InvalidInput("--stdio listens on no address.", remedy="Leave --host and --port out.")
    changes = {"plugins.mcp.serve.host": host, "plugins.mcp.serve.port": port}
    if stdio:
        context.exit(run(_over_stdio(app, configuration(), worker=not no_worker)))
    loaded = configuration({**changes, "transports": ["mcp"]})
    context.exit(run(live(app, loaded, transports=True, worker=not no_worker)))


async def _over_stdio(app: str | None, loaded: Loaded, *, worker: bool) -> int:
    start_logs(loaded)
    with standard_wire() as wire:
        config = section(loaded)
        async with Host.open(find_app(app, loaded), loaded=loaded, worker=worker) as host:
            stopping = asyncio.Event()

            def stop() -> None:
                host.stop()
                stopping.set()

            on_signals(stop)
            await serve_stdio(host, config.serve, wire, stopping)
    return 0
