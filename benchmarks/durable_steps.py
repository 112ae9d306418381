"""Durable steps per second: many small workflows at once, every result committed to disk before the next step begins.

Run it with `python3 dev bench durable-steps`; `benchmarks/README.md` says what the figures mean.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

import _harness as harness
from _harness import BenchmarkError, Peer, Reply

DBOS = ("dbos>=3.4,<4",)
LANGGRAPH = ("langgraph>=1.2,<2", "langgraph-checkpoint-sqlite>=3.1,<4", "langchain>=1.4,<2")

PEERS = (
    Peer("limit", "limit_durable_steps.py", "bare SQLite, one writer thread, group commit"),
    Peer("us", "us_durable_steps.py", "a Python function with ctx.step"),
    Peer("dbos", "dbos_durable_steps.py", "async workflow, as installed", DBOS, "dbos"),
    Peer(
        "dbos-wal", "dbos_durable_steps.py", "the same, its file switched to WAL by us", DBOS, "dbos", (("wal", True),)
    ),
    Peer("langgraph", "langgraph_durable_steps.py", 'AsyncSqliteSaver, durability="sync"', LANGGRAPH, "langgraph"),
)
PAIRS = tuple(("us", peer.name) for peer in PEERS if peer.name != "us")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    settings = {"runs": options.runs, "steps": options.steps, "at_once": options.at_once}
    try:
        peers = harness.choose(PEERS, options.only)
        replies = harness.run_rounds("durable-steps", peers, options.rounds, settings, options.data)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    results = {name: harness.median(rounds, "steps_per_s") for name, rounds in replies.items()}
    title = (
        f"Durable steps: {options.runs} runs of {options.steps} steps, {options.at_once} at once, "
        f"SQLite synchronous=FULL, median of {options.rounds} rounds"
    )
    columns = ("", "how", "steps/s", "lowest to highest", "CPU µs/step", "a run, p50 ms", "p99 ms", "us / this")
    harness.show(
        title, columns, [row(peer, replies, results) for peer in peers], harness.notes_on(replies, options.data)
    )
    harness.finish("durable-steps", "steps/s (higher is better)", results, PAIRS)
    return 0


def row(peer: Peer, replies: Mapping[str, Sequence[Reply]], results: Mapping[str, float]) -> list[str]:
    rounds = replies[peer.name]
    speeds = harness.figures(rounds, "steps_per_s")
    ratio = f"{results['us'] / results[peer.name]:.2f} ×" if "us" in results else "–"
    return [
        peer.name,
        peer.about,
        f"{results[peer.name]:,.0f}",
        f"{min(speeds):,.0f} to {max(speeds):,.0f}",
        f"{harness.median(rounds, 'cpu_us_per_step'):,.0f}",
        f"{harness.median(rounds, 'run_p50_ms'):,.1f}",
        f"{harness.median(rounds, 'run_p99_ms'):,.1f}",
        ratio,
    ]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.parser("durable-steps", __doc__, [peer.name for peer in PEERS])
    parser.add_argument("--runs", type=harness.positive, default=200, help="workflows in one round (default: 200)")
    parser.add_argument("--steps", type=harness.positive, default=10, help="steps of one workflow (default: 10)")
    parser.add_argument("--at-once", type=harness.positive, default=20, help="workflows in flight (default: 20)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
