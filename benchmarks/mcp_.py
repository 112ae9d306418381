"""Calls of an MCP tool in a second, one after another: through the fleet and its policy, beside the SDK's bare client.

Run it with `python3 dev bench mcp`; `benchmarks/README.md` says what the figures mean.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

import _harness as harness
from _harness import BenchmarkError, Peer, Reply

PEERS = (
    Peer("sdk", "sdk_mcp.py", "mcp.Client, bare"),
    Peer("us", "us_mcp.py", "ctx.call of an approved tool, past a policy, in memory"),
    Peer("us-durable", "us_mcp.py", "the same, journaled to SQLite, FULL", options=(("journal", True),)),
    Peer("idle", "us_mcp_idle.py", "50 servers, connected, for some seconds"),
)
WAYS = ("stdio", "http")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    settings = {"seconds": options.seconds, "steps": 1, "at_once": 1, "servers": options.servers}
    try:
        peers = harness.choose(PEERS, options.only)
        replies = harness.run_rounds("mcp", peers, options.rounds, settings, options.data)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    idle = replies.pop("idle", None)
    results = {
        f"{name}-{way}": harness.median(rounds, f"{way}_per_s") for name, rounds in replies.items() for way in WAYS
    }
    rows = [[peer.name, peer.about, *cells(replies[peer.name])] for peer in peers if peer.name in replies]
    title = f"MCP: calls in a second, one after another, higher is better, median of {options.rounds} rounds"
    columns = ("", "how", *(f"{way}{what}" for way in WAYS for what in ("", ", CPU µs of the host")))
    harness.show(title, columns, rows, harness.notes_on(replies, options.data))
    ratios = {
        f"{name}-{way}/sdk": harness.rounded(results[f"{name}-{way}"] / results[f"sdk-{way}"])
        for name in replies
        for way in WAYS
        if name != "sdk" and "sdk" in replies
    }
    if idle is not None:
        results["idle-percent-of-a-core"] = harness.median(idle, "percent")
        print(f"{options.servers} idle servers: {results['idle-percent-of-a-core']:.2f} % of a core for the host")
    told = {name: harness.rounded(value) for name, value in results.items()}
    sys.stdout.flush()
    print(json.dumps({"bench": "mcp", "unit": "calls/s (higher is better)", "results": told, "ratios": ratios}))
    return 0


def cells(rounds: Sequence[Reply]) -> list[str]:
    """Calls in a second and the processor's time of one, for each way."""
    return [f"{harness.median(rounds, f'{way}_{what}'):,.0f}" for way in WAYS for what in ("per_s", "cpu_us")]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.parser("mcp", __doc__, [peer.name for peer in PEERS])
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each figure is measured (default: 3)")
    parser.add_argument("--servers", type=harness.positive, default=50, help="how many are idle (default: 50)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
