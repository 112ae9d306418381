"""Does the embedded store stay as fast when it grows? Claim, find and tail with more and more that has been done.

Run it with `python3 dev bench store-growth`; `benchmarks/README.md` says what the figures mean.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sqlite3
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import _harness as harness

from opspawn.contracts.events import NewEvent
from opspawn.contracts.store import Append, Batch, Claim, EventQuery, Put, Query, Task, TaskState
from opspawn.stores.sqlite import SqliteStore, open_sqlite

HANDLER, OTHER = "function/work", "function/other"
_TASK = (
    "INSERT INTO tasks (seq, id, state, version, token, wakes, urgent_at, cancel, ready, due, rank, head_start, line, "
    "places, holds, queue, handler, agent, session, root, priority, strict, attempt, deliveries, created, updated, "
    "ended, large, labels, input, result) SELECT n, 'old' || n, {state}, 2, 2, 0, 0, 0, {ready}, {due}, {due}, 0, "
    "{line}, 0, {holds}, 'default', {handler}, 'a' || (n % 10), 's' || (n / 20), 'old' || n, 0, 0, 0, 0, n, n, "
    "{ended}, 0, '{{}}', '{{\"n\":1}}', '\"done\"' FROM (WITH RECURSIVE c(n) AS (SELECT {first} UNION ALL "
    "SELECT n + 1 FROM c WHERE n < {last}) SELECT n FROM c)"
)
_EVENTS = (
    "INSERT INTO events (task, time, type, level, agent, session, data) "
    "SELECT seq, created, type, 'info', agent, session, '{\"key\":\"a\"}' FROM tasks, "
    "(SELECT 'task.accepted' AS type UNION ALL SELECT 'step.done' UNION ALL SELECT 'task.succeeded')"
)


@dataclass(frozen=True, slots=True)
class Size:
    """A store: how many tasks have ended in it, and how many wait, half of them behind a key that is full."""

    name: str
    ended: int = 0
    queued: int = 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="dev bench store-growth", description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000, help="tasks in the largest stores (%(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds; the figure is their median (%(default)s)")
    parser.add_argument("--calls", type=int, default=40, help="calls of each kind in a round (%(default)s)")
    parser.add_argument("--data", type=Path, default=harness.HOME / "data", help="where the databases lie")
    options = parser.parse_args(arguments)
    few = max(1, options.tasks // 100)
    sizes = [
        Size("empty"),
        Size(f"{few:,} ended", few),
        Size(f"{options.tasks:,} ended", options.tasks),
        Size(f"{options.tasks:,} queued", queued=options.tasks),
    ]
    folder = options.data / "store-growth"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        figures = asyncio.run(measure(sizes, folder, options.rounds, options.calls))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(sizes, figures, options)
    return 0


async def measure(sizes: Sequence[Size], folder: Path, rounds: int, calls: int) -> dict[tuple[str, str], float]:
    """CPU microseconds per call, by the name of the size and the kind of call: medians over the rounds.

    All stores take their turn in each round, so that a slow minute of the machine hits all of them.
    """
    stores: dict[str, SqliteStore] = {}
    for size in sizes:
        harness.say(f"filling: {size.name}")
        stores[size.name] = await filled(size, folder / f"{len(stores)}.db")
    taken: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 1):
        harness.say(f"round {number} of {rounds}")
        turn = number % len(stores)
        for name, store in [*stores.items()][turn:] + [*stores.items()][:turn]:
            for kind, call in (await calls_of(store, f"{number}", calls)).items():
                began = time.process_time_ns()
                for n in range(calls):
                    await call(n)
                spent = (time.process_time_ns() - began) / 1000 / calls
                if number:  # the first one warms up
                    taken.setdefault((name, kind), []).append(spent)
    for store in stores.values():
        await store.aclose()
    return {key: statistics.median(values) for key, values in taken.items()}


async def filled(size: Size, path: Path) -> SqliteStore:
    """A store of a size. What it holds is written in bulk, as the store itself would have written it."""
    await (await open_sqlite(str(path))).aclose()
    with closing(sqlite3.connect(path)) as bulk:
        bulk.execute("PRAGMA synchronous = OFF")
        if size.ended:
            done = {"state": "'succeeded'", "ready": 0, "due": "NULL", "line": "NULL", "holds": "NULL", "ended": "n"}
            bulk.execute(_TASK.format(first=1, last=size.ended, handler=f"'{HANDLER}'", **done))
            bulk.execute(_EVENTS)
        if size.queued:
            half = size.queued // 2
            free = {"state": "'queued'", "ready": 1, "due": "n", "line": "NULL", "holds": "NULL", "ended": "NULL"}
            blocked = {**free, "ready": 2, "line": "'full'", "holds": """'[["full", 1, "unfinished"]]'"""}
            bulk.execute(_TASK.format(first=1, last=half, handler=f"'{HANDLER}'", **blocked))
            bulk.execute(_TASK.format(first=half + 1, last=size.queued, handler=f"'{HANDLER}'", **free))
            bulk.execute("INSERT INTO keys (key, held) VALUES ('full', 1)")  # by somebody who waits for a human
        bulk.commit()
        bulk.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return await open_sqlite(str(path), synchronous="normal")


async def calls_of(store: SqliteStore, mark: str, calls: int) -> dict[str, Callable[[int], Awaitable[object]]]:
    """What is measured. The tasks to claim are there before, and are claimed one by one."""
    batch = [Put(Task(f"{mark}-{n}", HANDLER, f"{mark}-{n}", labels={"run": mark}), 0) for n in range(calls)]
    await store.commit(Batch(batch))
    tail = store.tail()
    claimed: list[Task] = []

    async def claim(n: int) -> object:
        (lease,) = await store.claim(Claim("bench", ["default"], [HANDLER, OTHER], 1, 600.0))
        claimed.append(lease.task)
        return lease

    async def put(n: int) -> object:
        task = claimed[n]
        return await store.commit(Batch([Put(replace(task, state=TaskState.SUCCEEDED), task.version, task.token)]))

    async def follow(n: int) -> object:
        await store.commit(Batch([Append(None, NewEvent("custom.x", {"n": n}), agent="bench")]))
        return await anext(tail)

    async def journal(n: int) -> object:
        return await store.journal(claimed[n].id)

    async def find(n: int) -> object:
        return await store.find_tasks(Query({"agent": "nobody"}, limit=20))

    async def find_by_label(n: int) -> object:
        return await store.find_tasks(Query(labels={"run": mark}, limit=20))

    async def events(n: int) -> object:
        return await store.events(EventQuery(newest=True, limit=20))

    return {
        "claim": claim,
        "put": put,
        "tail": follow,
        "journal": journal,
        "find": find,
        "find by label": find_by_label,
        "events": events,
    }


def show(sizes: Sequence[Size], figures: dict[tuple[str, str], float], options: argparse.Namespace) -> None:
    """The table, and the line of JSON."""
    base, *others = [size.name for size in sizes]
    kinds = list(dict.fromkeys(kind for _, kind in figures))
    rows = [
        [kind, f"{figures[base, kind]:,.0f}"]
        + [f"{figures[name, kind]:,.0f} ({figures[name, kind] / figures[base, kind]:.2f} ×)" for name in others]
        for kind in kinds
    ]
    title = f"CPU µs per call, median of {options.rounds} rounds of {options.calls} calls (× what an empty store needs)"
    harness.show(title, ("", base, *others), rows, [f"SQLite {sqlite3.sqlite_version}, synchronous=NORMAL"])
    results = {f"{kind}, {size.name}": figures[size.name, kind] for kind in kinds for size in sizes}
    pairs = [(f"{kind}, {name}", f"{kind}, {base}") for kind in kinds for name in others]
    harness.finish("store-growth", "CPU µs per call (lower is better)", results, pairs)


if __name__ == "__main__":
    sys.exit(main())
