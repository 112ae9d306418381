"""Durable no-op tasks per second of queues on Redis: one worker process, results kept, the log synced every second.

Run it with `python3 dev bench queue`; `benchmarks/README.md` says what the figures mean.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import _harness as harness
from _harness import BenchmarkError, Peer, Reply

ARQ = ("arq>=0.28,<0.29",)
TASKIQ = ("taskiq>=0.11,<1", "taskiq-redis>=1,<2")
SAQ = ("saq[redis,hiredis]>=0.24,<1", "typing-extensions")
DRAMATIQ = ("dramatiq[redis]>=1.17,<3", "hiredis>=2")
CELERY = ("celery[redis]>=5.4,<6", "hiredis>=2")

PEERS = (
    Peer("limit", "limit_queue.py", "a bare list, nothing acknowledged"),
    Peer("us", "us_queue.py", "store redis, waker arq: journal, claim and result durable"),
    Peer("us-two", "us_queue.py", "the same with two workers", options=(("workers", 2),)),
    Peer("arq", "arq_queue.py", "tuned: poll 10 ms, 100 jobs at once", ARQ, "arq"),
    Peer("taskiq", "taskiq_queue.py", "RedisStreamBroker, results kept", TASKIQ, "taskiq"),
    Peer("saq", "saq_queue.py", "Redis queue, 100 at once", SAQ, "saq"),
    Peer("dramatiq", "dramatiq_queue.py", "async actors, 8 threads, results kept", DRAMATIQ, "dramatiq"),
    Peer("celery", "celery_queue.py", "solo pool, late acknowledgement, results kept", CELERY, "celery"),
)
USUAL = ("limit", "us", "us-two", "arq", "taskiq")
PAIRS = (*(("us", name) for name in ("arq", "taskiq", "saq", "dramatiq", "celery")), ("us-two", "us"),
         ("us-two-backlog", "us-backlog"), ("us-pickup", "limit-pickup"), ("us-pickup", "taskiq-pickup"),
         ("us-rested", "limit-rested"), ("us-rested", "taskiq-rested"))  # fmt: skip
#: What else is a result of its own, by the ending of its name.
MORE = {"backlog": "backlog_tasks_per_s", "pickup": "pickup_p50_ms", "rested": "rested_p50_ms"}


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    only = options.only or (None if options.all else ",".join(USUAL))
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "plugins/opspawn-store-redis/src"))
    from opspawn_store_redis.testing import find_server

    try:
        settings = {"steps": 1, "at_once": 1, "tasks": options.tasks, "server": find_server()}
        peers = harness.choose(PEERS, only)
        replies = harness.run_rounds("queue", peers, options.rounds, settings, options.data)
    except (BenchmarkError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    results = {name: harness.median(rounds, "tasks_per_s") for name, rounds in replies.items()}
    title = f"Queues: {options.tasks} no-op tasks, AOF everysec, median of {options.rounds} rounds"
    columns = ("", "how", "tasks/s", "lowest to highest", "Redis CPU µs/task", "Python CPU µs/task",
               "pick-up p50 ms", "p95 ms", "rested p50 ms", "p95 ms",
               "idle commands/s", "backlog tasks/s", "us / this")  # fmt: skip
    rows = [row(peer, replies, results) for peer in peers]
    harness.show(title, columns, rows, harness.notes_on(replies, options.data))
    for name, rounds in replies.items():
        for ending, field in MORE.items():
            if field in rounds[0]:
                results[f"{name}-{ending}"] = harness.median(rounds, field)
    harness.finish("queue", "tasks/s (higher is better); -pickup and -rested: ms", results, PAIRS)
    return 0


def row(peer: Peer, replies: Mapping[str, Sequence[Reply]], results: Mapping[str, float]) -> list[str]:
    rounds = replies[peer.name]
    speeds = harness.figures(rounds, "tasks_per_s")

    def shown(field: str) -> str:
        return f"{harness.median(rounds, field):,.1f}" if field in rounds[0] else "–"

    return [
        peer.name,
        peer.about,
        f"{results[peer.name]:,.0f}",
        f"{min(speeds):,.0f} to {max(speeds):,.0f}",
        shown("redis_us_per_task"),
        shown("python_us_per_task"),
        shown("pickup_p50_ms"),
        shown("pickup_p95_ms"),
        shown("rested_p50_ms"),
        shown("rested_p95_ms"),
        shown("idle_commands_per_s"),
        shown("backlog_tasks_per_s"),
        f"{results['us'] / results[peer.name]:.2f} ×" if "us" in results else "–",
    ]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = harness.parser("queue", __doc__, [peer.name for peer in PEERS])
    parser.add_argument("--tasks", type=harness.positive, default=5000, help="tasks in one round (default: 5000)")
    parser.add_argument("--all", action="store_true", help="saq, dramatiq and celery, too")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
