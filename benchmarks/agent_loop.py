"""What an agent framework adds to each step of an agent's loop, with a model in the process that answers at once.

Run it with `python3 dev bench agent-loop`; `benchmarks/README.md` says what the figures mean.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

import _harness as harness
from _harness import BenchmarkError, Peer, Reply
from durable_steps import LANGGRAPH

PEERS = (
    Peer("limit", "limit_agent_loop.py", "a bare loop that validates arguments with pydantic"),
    Peer("us", "us_agent_loop.py", "Agent.run, ReAct planner, in memory"),
    Peer(
        "us-durable",
        "us_durable_agent_loop.py",
        "the same as tasks, every step committed to SQLite, synchronous=FULL",
    ),
    Peer("agno", "agno_agent_loop.py", "Agent.arun, in memory", ("agno>=3.1,<4",), "agno"),
    Peer(
        "pydantic-ai",
        "pydantic_ai_agent_loop.py",
        "Agent.run, in memory",
        ("pydantic-ai-slim>=2.68,<3",),
        "pydantic-ai",
    ),
    Peer("langgraph", "langgraph_agent_loop.py", "create_agent().ainvoke, in memory", LANGGRAPH, "langgraph"),
)
OTHERS = ("limit", "agno", "pydantic-ai", "langgraph")
#: The suffix of the figures with many runs in flight; without it, one run after the other.
AT_ONCE = "-at-once"
PAIRS = (
    *(("us", name) for name in OTHERS),
    *((f"us{AT_ONCE}", f"{name}{AT_ONCE}") for name in OTHERS),
    *((f"us-durable{AT_ONCE}", f"{name}{AT_ONCE}") for name in (*OTHERS, "us")),
)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    settings = {"steps": options.steps, "at_once": options.at_once, "seconds": options.seconds}
    try:
        peers = harness.choose(PEERS, options.only)
        replies = harness.run_rounds("agent-loop", peers, options.rounds, settings, options.data)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    results = collect(replies)
    title = (
        f"Agent loop: {options.steps} model and tool steps and an answer, µs per step, lower is better, "
        f"median of {options.rounds} rounds"
    )
    columns = (
        "",
        "how",
        "one run at a time",
        "lowest to highest",
        f"{options.at_once} runs at once",
        "lowest to highest",
    )
    harness.show(
        title, columns, [row(peer, replies, results) for peer in peers], harness.notes_on(replies, options.data)
    )
    harness.finish("agent-loop", "microseconds per model and tool step (lower is better)", results, PAIRS)
    return 0


def collect(replies: Mapping[str, Sequence[Reply]]) -> dict[str, float]:
    """The medians: NAME for one run at a time, NAME-at-once for many in flight."""
    results = {}
    for name, rounds in replies.items():
        results[name] = harness.median(rounds, "us_per_step")
        results[name + AT_ONCE] = harness.median(rounds, "us_per_step_at_once")
    return results


def row(peer: Peer, replies: Mapping[str, Sequence[Reply]], results: Mapping[str, float]) -> list[str]:
    cells = [peer.name, peer.about]
    for suffix, field in (("", "us_per_step"), (AT_ONCE, "us_per_step_at_once")):
        values = harness.figures(replies[peer.name], field)
        cells += [f"{results[peer.name + suffix]:,.1f}", f"{min(values):,.1f} to {max(values):,.1f}"]
    return cells


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.parser("agent-loop", __doc__, [peer.name for peer in PEERS])
    parser.add_argument("--steps", type=harness.positive, default=10, help="tool calls of one run (default: 10)")
    parser.add_argument(
        "--at-once", type=harness.positive, default=20, help="runs in flight in the second figure (default: 20)"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each figure is measured (default: 2)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
