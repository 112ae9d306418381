"""Calls of an MCP tool in a second, one after another: through the fleet and its policy, beside the SDK's bare client.

Run it with `python3 dev bench mcp`; `benchmarks/README.md` says what the figures mean.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence

import _harness as harness
import _turns as turns
from _harness import BenchmarkError, Peer, Reply

sys.path.append(str(harness.WORKERS))
from _mcp import http_server  # it lies among the workers

PEERS = (
    Peer("sdk", "sdk_mcp.py", "mcp.Client, bare"),
    Peer("us", "us_mcp.py", "ctx.call of an approved tool, past a policy, in memory"),
    Peer("us-durable", "us_mcp.py", "the same, journaled to SQLite, FULL", options=(("journal", True),)),
)
IDLE = Peer("idle", "us_mcp_idle.py", "50 servers, connected, for some seconds")
WAYS = ("stdio", "http")
#: How long the idle servers are looked at, in seconds, by half.
_IDLE_S = 3.0

#: By way and peer, the figures of each turn.
Taken = dict[str, dict[str, list[Reply]]]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        peers = harness.choose((*PEERS, IDLE), options.only)
        taken, reports = by_turns([peer for peer in peers if peer is not IDLE], options)
        settings = {"seconds": _IDLE_S, "steps": 1, "at_once": 1, "servers": options.servers}
        idle = harness.run_rounds("mcp", [IDLE], 1, settings, options.data)["idle"] if IDLE in peers else None
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    results = {f"{name}-{way}": median(taken[way][name], "per_s") for way in WAYS for name in taken[way]}
    rows = [[peer.name, peer.about, *cells(taken, peer.name)] for peer in peers if peer.name in reports]
    title = f"MCP: calls in a second, one after another, higher is better, median of {options.rounds} turns"
    columns = ("", "how", *(f"{way}{what}" for way in WAYS for what in ("", ", CPU µs of the host")))
    harness.show(title, columns, rows, harness.notes_on({name: [one] for name, one in reports.items()}, options.data))
    ratios = {}
    for way in WAYS:
        for name, found in against_sdk(taken[way]).items():
            ratios[f"{name}-{way}/sdk"] = harness.rounded(statistics.median(found))
            print(f"{name}-{way}/sdk: {turns.spread(found)}")
    if idle is not None:
        results["idle-percent-of-a-core"] = harness.median(idle, "percent")
        print(f"{options.servers} idle servers: {results['idle-percent-of-a-core']:.3f} % of a core for the host")
    told = {name: harness.rounded(value) for name, value in results.items()}
    sys.stdout.flush()
    print(json.dumps({"bench": "mcp", "unit": "calls/s (higher is better)", "results": told, "ratios": ratios}))
    return 0


def by_turns(peers: Sequence[Peer], options: argparse.Namespace) -> tuple[Taken, dict[str, Reply]]:
    """What each peer did in its turns, and their reports. Raises: BenchmarkError."""
    taken: Taken = {way: {peer.name: [] for peer in peers} for way in WAYS}
    if not peers:
        return taken, {}
    with http_server() as url:
        settings = {"steps": 1, "at_once": 1, "url": url}
        with turns.started("mcp", peers, settings, options.data) as workers:
            for number in range(options.rounds):
                for way in WAYS:
                    for name in turns.in_turn(list(workers), number):
                        taken[way][name].append(workers[name].turn(way=way, seconds=options.seconds))
                told = ", ".join(
                    f"{name}-{way} {taken[way][name][-1]['per_s']:,.0f}" for way in WAYS for name in workers
                )
                harness.say(f"turn {number + 1}/{options.rounds}  {told}")
            return taken, {name: worker.end() for name, worker in workers.items()}


def against_sdk(taken: Mapping[str, Sequence[Reply]]) -> dict[str, list[float]]:
    """The ratios of each peer to the SDK, turn by turn."""
    bare = taken.get("sdk", ())
    return {
        name: [one["per_s"] / other["per_s"] for one, other in zip(found, bare, strict=True)]
        for name, found in taken.items()
        if name != "sdk" and bare
    }


def median(found: Sequence[Reply], field: str) -> float:
    """The median of one figure over the turns."""
    return float(statistics.median(one[field] for one in found))


def cells(taken: Taken, name: str) -> list[str]:
    """Calls in a second and the processor's time of one, for each way."""
    return [f"{median(taken[way][name], what):,.0f}" for way in WAYS for what in ("per_s", "cpu_us")]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.parser("mcp", __doc__, [peer.name for peer in (*PEERS, IDLE)])
    parser.set_defaults(rounds=25)
    parser.add_argument("--seconds", type=float, default=0.3, help="how long each turn lasts (default: 0.3)")
    parser.add_argument("--servers", type=harness.positive, default=50, help="how many are idle (default: 50)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
