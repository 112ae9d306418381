"""`python -m opspawn.testing.openai_server`: the scripted server in a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from opspawn.testing.openai_server.server import OpenAIServer
from opspawn.testing.openai_server.steps import Script, load_script


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM. The first line printed says where; a wrong script or a taken port exits with 2."""
    parser = argparse.ArgumentParser(prog="python -m opspawn.testing.openai_server", description=main.__doc__)
    parser.add_argument("--script", type=Path, required=True, help="JSON list of steps, or Python file with 'script'")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--latency", type=float, default=0.0, metavar="S", help="seconds before each answer")
    parser.add_argument("--log", type=Path, help="file to which each request is appended as one JSON line")
    options = parser.parse_args(argv)
    try:
        script = load_script(options.script)
        asyncio.run(_serve(script, options))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


async def _serve(script: Script, options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = OpenAIServer(script, host=options.host, port=options.port, latency_s=options.latency, log=options.log)
    async with server:
        print(f"listening on {server.base_url}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    sys.exit(main())
