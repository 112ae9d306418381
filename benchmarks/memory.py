"""How fast items are remembered and found by their vectors, and how many of the nearest are found.

Run it with `python3 dev bench memory`; `benchmarks/README.md` says what the figures mean.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence

import _harness as harness
from _harness import BenchmarkError, Peer, Reply

LANCE = ("lancedb>=0.38,<0.41", "numpy>=2", "pyarrow>=16")
PEERS = (
    Peer(
        "us", "us_memory.py", 'memory = "lancedb": items with words, namespace, source, times; each add is on the disk'
    ),
    Peer("lancedb", "lancedb_memory.py", "a table of id, text and vector, no index of words", LANCE, "lancedb"),
    Peer(
        "lancedb-kept",
        "lancedb_kept_memory.py",
        "by hand what the memory keeps: its columns, unique ids, an index of words, each add on the disk",
        LANCE,
        "lancedb",
    ),
    Peer(
        "sqlite-vec",
        "sqlite_vec_memory.py",
        "a vec0 table and one of texts",
        ("sqlite-vec>=0.1.9", "numpy>=2", "apsw>=3.50"),
        "sqlite-vec",
    ),
    Peer("numpy", "numpy_memory.py", "a matrix in memory, nothing kept", ("numpy>=2",), "numpy"),
)
#: Figures of a worker: name, title.
FIGURES = (
    ("add", "items/s in batches"),
    ("settled", "items/s until all is in the table"),
    ("one", "items/s, one a call"),
    ("search", "searches/s"),
    ("recall", "recall@10"),
    ("order", "s to bring in order"),
)
_DECIMALS = {"recall": 2, "order": 1}


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        peers = harness.choose(PEERS, options.only)
        lines = [measured(peers, int(size), options) for size in options.items.split(",")]
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    sys.stdout.flush()
    results = {key: value for line in lines for key, value in line[0].items()}
    ratios = {key: value for line in lines for key, value in line[1].items()}
    unit = "items per second and searches per second (higher is better)"
    print(json.dumps({"bench": "memory", "unit": unit, "results": results, "ratios": ratios}), flush=True)
    return 0


def measured(
    peers: Sequence[Peer], size: int, options: argparse.Namespace
) -> tuple[dict[str, float], dict[str, float]]:
    """Measure with so many items, show it, and return the figures and the ratios; their names end with the size."""
    settings = {"items": size, "one_by_one": options.one_by_one, "searches": options.searches, "steps": 0, "at_once": 0}
    replies = harness.run_rounds(f"memory-{size}", peers, options.rounds, settings, options.data)
    rows = [[peer.name, peer.about, *cells(replies[peer.name])] for peer in peers]
    title = f"Memory: {size:,} items of 384 numbers, median of {options.rounds} rounds"
    columns = ("", "how", *(name for _, name in FIGURES))
    harness.show(title, columns, rows, harness.notes_on(replies, options.data))
    results = {
        f"{name}-{figure}@{size}": harness.rounded(harness.median(rounds, figure))
        for name, rounds in replies.items()
        for figure, _ in FIGURES
        if figure in rounds[0]
    }
    return results, ratios_of(results, size)


def ratios_of(results: Mapping[str, float], size: int) -> dict[str, float]:
    """`us-add/lancedb@10000` and the like: ours by theirs; and `recall@10000`, ours as it is."""
    found = {}
    for other in (peer.name for peer in PEERS[1:]):
        for figure in ("add", "one", "search"):
            ours, theirs = results.get(f"us-{figure}@{size}"), results.get(f"{other}-{figure}@{size}")
            if ours and theirs:
                found[f"us-{figure}/{other}@{size}"] = harness.rounded(ours / theirs)
        settled, added = results.get(f"us-settled@{size}"), results.get(f"{other}-add@{size}")
        if settled and added:
            found[f"us-settled/{other}@{size}"] = harness.rounded(settled / added)
    if (recall := results.get(f"us-recall@{size}")) is not None:
        found[f"recall@{size}"] = recall
    return found


def cells(replies: Sequence[Reply]) -> list[str]:
    """The figures of one row."""
    return [
        f"{harness.median(replies, figure):,.{_DECIMALS.get(figure, 0)}f}" if figure in replies[0] else ""
        for figure, _ in FIGURES
    ]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.parser("memory", __doc__, [peer.name for peer in PEERS])
    parser.add_argument("--items", default="10000,100000", help="how many items are kept (default: %(default)s)")
    parser.add_argument("--one-by-one", type=harness.positive, default=2000, help="items added one a call (2000)")
    parser.add_argument("--searches", type=harness.positive, default=100, help="searches that are timed (default: 100)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
