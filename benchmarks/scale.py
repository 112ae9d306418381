"""How far one process goes: many children, many steps, large values, many waiting tasks, and how soon things start.

Run it with `python3 dev bench scale`; `benchmarks/README.md` says what the figures mean and what bounds them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import _harness as harness
from _harness import BenchmarkError, Peer

PARTS = {
    "fan-out": "a gather over --children children",
    "chain": "a run of --chain steps, and its replay",
    "payloads": "1 MiB as input and results",
    "waiting": "--waiting tasks that wait for a signal",
    "latency": "--samples runs, one after the other",
}
PEERS = tuple(Peer(name, "us_scale.py", about, options=(("part", name),)) for name, about in PARTS.items())


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    settings = {name: getattr(options, name) for name in ("children", "chain", "waiting", "samples")}
    try:
        peers = harness.choose(PEERS, options.only)
        replies = harness.run_rounds(
            "scale", peers, options.rounds, {**settings, "steps": 0, "at_once": 0}, options.data
        )
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    results: dict[str, float] = {}
    rows = []
    for peer in peers:
        rounds = replies[peer.name]
        for field in (name for name, value in rounds[0].items() if isinstance(value, (int, float))):
            values = harness.figures(rounds, field)
            results[f"{peer.name}/{field}"] = harness.median(rounds, field)
            spread = f"{min(values):,.4g} to {max(values):,.4g}"
            rows.append([peer.name, peer.about, field, f"{results[f'{peer.name}/{field}']:,.4g}", spread])
    title = f"Scale: one process, SQLite synchronous=FULL, median of {options.rounds} rounds"
    harness.show(
        title, ("", "how", "figure", "median", "lowest to highest"), rows, harness.notes_on(replies, options.data)
    )
    harness.finish("scale", "as named: seconds, milliseconds, kB or counts", results, PAIRS)
    return 0


#: What a start and a step cost beside a bare commit of the same minute.
PAIRS = (("latency/start_p50_ms", "latency/commit_p50_ms"), ("latency/step_p50_ms", "latency/commit_p50_ms"))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.parser("scale", __doc__, list(PARTS))
    parser.add_argument("--children", type=harness.positive, default=10_000, help="children of the fan-out (10000)")
    parser.add_argument("--chain", type=harness.positive, default=2_000, help="steps of the chain (default: 2000)")
    parser.add_argument("--waiting", type=harness.positive, default=10_000, help="tasks that wait (default: 10000)")
    parser.add_argument("--samples", type=harness.positive, default=200, help="runs for the latency (default: 200)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
