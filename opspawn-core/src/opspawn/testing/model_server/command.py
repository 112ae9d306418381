"""A scripted server in a process of its own: what `python -m opspawn.testing.openai_server` and its like run."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from opspawn.testing.model_server.server import ModelServer
from opspawn.testing.model_server.steps import Script, load_script


def main(kind: type[ModelServer], argv: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM. The first line printed says where; a wrong script or a taken port exits with 2."""
    parser = argparse.ArgumentParser(prog=f"python -m {kind.__module__.rpartition('.')[0]}", description=main.__doc__)
    parser.add_argument("--script", type=Path, required=True, help="JSON list of steps, or Python file with 'script'")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--latency", type=float, default=0.0, metavar="S", help="seconds before each answer")
    parser.add_argument("--log", type=Path, help="file to which each request is appended as one JSON line")
    options = parser.parse_args(argv)
    try:
        script = load_script(options.script)
        asyncio.run(_serve(kind, script, options))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


async def _serve(kind: type[ModelServer], script: Script, options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = kind(script, host=options.host, port=options.port, latency_s=options.latency, log=options.log)
    async with server:
        print(f"listening on {server.base_url}", flush=True)
        await stop.wait()
