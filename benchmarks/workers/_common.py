"""What the workers share. Standard library only: it runs in every peer's environment.

A worker measures itself after a warm-up, checks that the work was done, and reports one JSON object on its last line.
"""

from __future__ import annotations

import asyncio
import json
import platform
import sqlite3
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any


class Settings:
    """The settings of this run, from the command line: `folder`, `steps`, `at_once`, and those of the benchmark."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = json.loads(sys.argv[1])
        self.folder = Path(self._values["folder"])
        self.steps: int = self._values["steps"]
        self.at_once: int = self._values["at_once"]

    def get(self, name: str, default: Any = None) -> Any:
        return self._values.get(name, default)


def expect(holds: bool, what: str) -> None:
    """End the worker with one line if something that must hold does not: a wrong figure is worse than none."""
    if not holds:
        sys.exit(f"check failed: {what}")


def report(
    summary: str, figures: dict[str, float], packages: tuple[str, ...], facts: dict[str, Any] | None = None
) -> None:
    """Print the reply that the harness reads."""
    versions = {"Python": platform.python_version()} | {name: version(name) for name in packages}
    print(json.dumps({"summary": summary, **figures, "versions": versions, "facts": facts or {}}), flush=True)


async def many(count: int, at_once: int, one: Callable[[int], Awaitable[None]]) -> None:
    """Do `one(0)` to `one(count - 1)`, `at_once` of them in flight."""
    numbers = iter(range(count))

    async def lane() -> None:
        for number in numbers:
            await one(number)

    await asyncio.gather(*(lane() for _ in range(min(at_once, count))))


#: `measure_steps` repeats its batch of workflows until this much time is measured, in seconds: a fast peer needs only
#: milliseconds for one batch, which would be noise.
MEASURE_S = 1.0


async def measure_steps(settings: Settings, run: Callable[[str], Awaitable[None]]) -> tuple[str, dict[str, float]]:
    """Time batches of workflows, of which `run(name)` does one, and return a summary and the figures.

    Names are new each time: "warm-…" before the clock starts, then "run-…"; the figure `runs` says how many were timed.
    """
    runs: int = settings.get("runs")
    await many(2 * settings.at_once, settings.at_once, lambda number: run(f"warm-{number}"))
    times: list[float] = []

    async def timed(number: int) -> None:
        began = time.perf_counter()
        await run(f"run-{batches}-{number}")
        times.append(time.perf_counter() - began)

    batches, seconds, cpu = 0, 0.0, time.process_time()
    while seconds < MEASURE_S:
        began = time.perf_counter()
        await many(runs, settings.at_once, timed)
        seconds += time.perf_counter() - began
        batches += 1
    cpu = time.process_time() - cpu
    steps = len(times) * settings.steps
    times.sort()
    figures = {
        "runs": len(times),
        "steps_per_s": steps / seconds,
        "cpu_us_per_step": cpu / steps * 1e6,
        "run_p50_ms": statistics.median(times) * 1e3,
        "run_p99_ms": times[int(len(times) * 0.99)] * 1e3,
    }
    return f"{steps / seconds:,.0f} steps/s", figures


def expect_rows(file: Path, query: str, at_least: int, what: str) -> str:
    """Check from outside, by a connection of our own, that the results are in the file; returns its journal mode."""
    connection = sqlite3.connect(file)
    try:
        found = connection.execute(query).fetchone()[0]
        expect(found >= at_least, f"{what}: {found} rows on disk, expected at least {at_least}")
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])
    finally:
        connection.close()


def synchronous(connection: sqlite3.Connection | None = None) -> str:
    """How a connection waits for the disk; without one, what a connection gets that nobody asked to change it."""
    asked = connection or sqlite3.connect(":memory:")
    level = asked.execute("PRAGMA synchronous").fetchone()[0]
    if connection is None:
        asked.close()
    return ("OFF", "NORMAL", "FULL", "EXTRA")[level]


class Script:
    """The fake model's part, and the tool's: the same conversation for every framework.

    The model sees how many results the conversation holds, asks for the next call, and after the last one answers with
    the last result. It keeps no state, so that any number of runs may be in flight.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.calls: Counter[int] = Counter()
        self.finished = 0

    def arguments(self, done: int) -> dict[str, Any] | None:
        """The arguments of the next call when `done` results are there; None when it is time to answer."""
        return {"number": done, "note": "look it up"} if done < self.steps else None

    def answer(self, last_result: str) -> str:
        return f"all done: {last_result}"

    def result(self, number: int) -> str:
        """What the tool does and returns."""
        self.calls[number] += 1
        return f"entry {number}"

    def check(self, answer: object) -> None:
        """Check the end of one run."""
        self.finished += 1
        expect(answer == f"all done: entry {self.steps - 1}", f"the answer was {answer!r}")

    def check_calls(self) -> None:
        """Check that each run called the tool once per step, and nobody called it besides."""
        wanted = dict.fromkeys(range(self.steps), self.finished)
        expect(dict(self.calls) == wanted, f"{self.finished} runs made the tool calls {dict(self.calls)}")


async def measure_loops(
    settings: Settings, script: Script, run: Callable[[], Awaitable[object]]
) -> tuple[str, dict[str, float]]:
    """Time `run`, which does one agent run and returns its answer: one after the other, then many at once."""
    seconds: float = settings.get("seconds")
    await _loops(script, run, 1, min(0.5, seconds))
    alone = await _loops(script, run, 1, seconds)
    together = await _loops(script, run, settings.at_once, seconds)
    script.check_calls()
    figures = {"us_per_step": alone / settings.steps * 1e6, "us_per_step_at_once": together / settings.steps * 1e6}
    return f"{figures['us_per_step']:,.1f} and {figures['us_per_step_at_once']:,.1f} µs/step", figures


async def _loops(script: Script, run: Callable[[], Awaitable[object]], at_once: int, seconds: float) -> float:
    """Run for about `seconds`; returns the seconds that one run took, by the clock, over all lanes."""
    before, began = script.finished, time.perf_counter()

    async def lane() -> None:
        while True:
            script.check(await run())
            if time.perf_counter() - began >= seconds:
                return

    await asyncio.gather(*(lane() for _ in range(at_once)))
    return (time.perf_counter() - began) / (script.finished - before)
