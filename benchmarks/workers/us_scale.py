"""Us, at scale: one part per run, named by the setting `part`. Every figure is checked against what was asked for."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from _common import Settings, expect, report

from opspawn import App
from opspawn.contracts.run import Handler, RunContext
from opspawn.contracts.store import Batch, Put, Record, Task
from opspawn.host import Host
from opspawn.ops.run.executor import WorkerOptions

#: Said, though it is the default: the figures must not depend on it.
FULL = {"sqlite": {"synchronous": "full"}}
MIB = 1024 * 1024

Figures = dict[str, float]


@asynccontextmanager
async def opened(settings: Settings, options: WorkerOptions | None = None, **functions: Handler) -> AsyncIterator[Host]:
    async with Host.open(App(functions=functions), data=settings.folder, sections=FULL, options=options) as host:
        yield host


async def ended(host: Host, task: Task) -> Task:
    found = await host.wait(task.id, timeout_s=240)
    expect(found.state == "succeeded", f"task {task.id} is {found.state}: {found.error}")
    return found


async def times(host: Host, task: Task, type: str) -> list[float]:
    return [event.time.timestamp() for event in await host.journal(task.id) if event.type == type]


def rss_mb() -> float:
    """What this process holds in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


# -- the parts ---------------------------------------------------------------------------------------------------------


async def fan_out(settings: Settings) -> Figures:
    """One gather over many children that do nothing, from its start to its end."""
    count: int = settings.get("children")

    async def parent(ctx: RunContext) -> int:
        return sum(await ctx.gather(*(ctx.spawn("function/child", n) for n in range(count))))

    async def child(ctx: RunContext) -> int:
        return int(ctx.input)

    async with opened(settings, parent=parent, child=child) as host:
        began = time.perf_counter()
        task = await host.submit("function/parent")
        done = await ended(host, task)
        seconds = time.perf_counter() - began
        expect(done.result == sum(range(count)), f"the parent returned {done.result}")
        made = await times(host, task, "child.spawned")
        claims = len(await times(host, task, "task.claimed"))
        expect(len(made) == count, f"{len(made)} children were made")
        heard = (await times(host, task, "child.ended"))[-1]
        over = (await times(host, task, "task.succeeded"))[-1]
    return {
        "children_per_s": count / seconds,
        "made_in_s": made[-1] - made[0],
        "commits_to_make": len(set(made)),
        "parent_claims": claims,
        "last_end_to_parents_s": over - heard,
    }


async def chain(settings: Settings) -> Figures:
    """One run of many steps; then the same run again from its journal, as after a crash."""
    count: int = settings.get("chain")

    async def run(ctx: RunContext) -> int:
        for number in range(count):
            await ctx.step("work", work, number)
        await ctx.sleep(1.5)  # long enough to park: whoever goes on reads the whole journal
        return count

    async def work(number: int) -> dict[str, int]:
        return {"number": number}

    async with opened(settings, run=run) as host:
        task = await host.submit("function/run")
        done = await ended(host, task)
        expect(done.result == count, f"the run returned {done.result}")
        steps = await times(host, task, "step.done")
        expect(len(steps) == count, f"{len(steps)} steps are in the journal")
        claims, ends = await times(host, task, "task.claimed"), await times(host, task, "task.succeeded")
        expect(len(claims) == 2, f"the run was claimed {len(claims)} times")
    gaps = [after - before for before, after in pairwise(steps)]
    tenth = count // 10
    return {
        "first_tenth_p50_ms": percentile(gaps[:tenth], 0.5),
        "last_tenth_p50_ms": percentile(gaps[-tenth:], 0.5),
        "replay_ms": (ends[0] - claims[1]) * 1e3,
    }


async def payloads(settings: Settings) -> Figures:
    """A megabyte as input, as the result of a step, as that of a child, and as that of the run."""
    text = "x" * MIB
    rounds = 10

    async def run(ctx: RunContext) -> str:
        expect(ctx.input == text, "the input is not what was sent")
        first = await ctx.step("work", work)
        second = await ctx.spawn("function/child", first)
        expect(first == text and second == text, "a result is not what was returned")
        return text

    async def work() -> str:
        return text

    async def child(ctx: RunContext) -> str:
        return str(ctx.input)

    spent = []
    async with opened(settings, run=run, child=child) as host:
        for _ in range(rounds):
            began = time.perf_counter()
            done = await ended(host, await host.submit("function/run", text))
            spent.append(time.perf_counter() - began)
            expect(done.result == text, "the result is not what was returned")
    kept = sum(file.stat().st_size for file in settings.folder.rglob("*") if file.is_file()) / MIB
    return {"run_p50_ms": percentile(spent, 0.5), "disk_mb_per_run": kept / rounds}


async def waiting(settings: Settings) -> Figures:
    """Memory of a worker with many tasks that wait for a signal, and of one with many that run."""
    count: int = settings.get("waiting")
    running = 1000
    go = asyncio.Event()

    async def waits(ctx: RunContext) -> Any:
        return await ctx.wait("go")

    async def runs(ctx: RunContext) -> None:
        await go.wait()

    async with opened(settings, WorkerOptions(slots=running), waits=waits, runs=runs) as host:
        await submitted(host, "function/waits", 200)
        await until(lambda: parked(host, 200))
        before = rss_mb()
        await submitted(host, "function/waits", count)
        await until(lambda: parked(host, count + 200))
        with_waiting = rss_mb()
        await submitted(host, "function/runs", running)
        await until(lambda: busy(host, running))
        with_running = rss_mb()
        go.set()
    return {
        "rss_mb": with_waiting,
        "kb_per_waiting": max(0.0, with_waiting - before) * 1024 / count,
        "kb_per_running": max(0.0, with_running - with_waiting) * 1024 / running,
    }


async def submitted(host: Host, handler: str, count: int) -> None:
    numbers = iter(range(count))

    async def lane() -> None:
        for number in numbers:
            await host.submit(handler, {"number": number})

    await asyncio.gather(*(lane() for _ in range(50)))


async def parked(host: Host, count: int) -> bool:
    rows = host.store._writer._connection  # type: ignore[attr-defined]
    with host.store._writer._lock:  # type: ignore[attr-defined]
        return bool(rows.execute("SELECT count(*) >= ? FROM tasks WHERE state = 'waiting'", (count,)).fetchone()[0])


async def busy(host: Host, count: int) -> bool:
    return host.worker is not None and host.worker.running >= count


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + 200
    while not await holds():
        expect(time.monotonic() < deadline, "what is waited for does not come")
        await asyncio.sleep(0.05)


async def latency(settings: Settings) -> Figures:
    """One run after the other: from `submit` to the first line of user code, and from step to step. A commit that does
    hardly anything is measured beside them: a start takes one commit, and so does a step.
    """
    count: int = settings.get("samples")
    begun: dict[str, float] = {}
    gaps: list[float] = []

    async def run(ctx: RunContext) -> None:
        begun[str(ctx.task)] = time.perf_counter()
        for number in range(10):
            before = time.perf_counter()
            await ctx.step("work", work, number)
            gaps.append(time.perf_counter() - before)

    async def work(number: int) -> int:
        return number

    starts: list[float] = []
    commits: list[float] = []
    async with opened(settings, run=run) as host:
        for number in range(count + 20):
            before = time.perf_counter()
            task = await host.submit("function/run")
            await ended(host, task)
            starts.append(begun[task.id] - before)
            before = time.perf_counter()
            await host.store.commit(Batch([Put(Record("bench", f"r{number}", {}), expect=0)]))
            commits.append(time.perf_counter() - before)
    starts, commits, gaps = starts[20:], commits[20:], gaps[200:]  # without those of the warm-up
    return {
        "commit_p50_ms": percentile(commits, 0.5),
        "commit_p95_ms": percentile(commits, 0.95),
        "start_p50_ms": percentile(starts, 0.5),
        "start_p95_ms": percentile(starts, 0.95),
        "step_p50_ms": percentile(gaps, 0.5),
        "step_p95_ms": percentile(gaps, 0.95),
    }


def percentile(seconds: list[float], share: float) -> float:
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * share))] * 1e3


PARTS = {"fan-out": fan_out, "chain": chain, "payloads": payloads, "waiting": waiting, "latency": latency}


async def main() -> None:
    settings = Settings()
    figures = await PARTS[settings.get("part")](settings)
    summary = ", ".join(f"{name} {value:,.4g}" for name, value in figures.items())
    report(summary, figures, ("opspawn-core",), {})


asyncio.run(main())
