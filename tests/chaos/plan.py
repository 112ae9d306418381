"""What a chaos run asks for: a mixture of tasks, drawn by a seed, and what must become of each."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from opspawn.contracts.retry import RetryPolicy

#: A task that fails by chance has so many attempts that it does not fail for good.
PATIENT = RetryPolicy(attempts=60, initial_s=0.02, max_s=0.5)

FLOW = """\
opspawn: "1"
name: flow
inputs:
  n: {type: integer}
steps:
  first:
    uses: tool/send
    with: {step: first, takes_s: 0.002, fails: 0.0}
  second:
    needs: [first]
    uses: tool/send
    with: {step: second, takes_s: 0.002, fails: 0.0}
output: "VERSION ${{ steps.first.output }} ${{ steps.second.output }}"
"""


@dataclass(slots=True)
class Job:
    """A task that is asked for.

    Attributes:
        kind: the function. handler, input, options: as they are submitted.
        tasks: how many tasks it makes, itself included.
        state, results: how it must end, and one of which results it must have, unless it is cancelled.
        steps: what must have been done outside when it succeeds.
        id: once it is accepted. cancelled: whether somebody asked for its end.
    """

    kind: str
    handler: str
    input: Any
    options: dict[str, Any] = field(default_factory=dict)
    tasks: int = 1
    state: str = "succeeded"
    results: tuple[Any, ...] | None = None
    steps: tuple[str, ...] = ()
    error_type: str | None = None
    id: str | None = None
    cancelled: bool = False


def _done(n: int) -> list[str]:
    return [f"s{i} done" for i in range(n)]


def _job(kind: str, input: Any, result: Any, steps: tuple[str, ...] = (), **more: Any) -> Job:
    return Job(kind, f"function/{kind}", input, results=(result,), steps=steps, **more)


def _steps(chance: random.Random) -> Job:
    n = chance.randint(1, 5)
    options: dict[str, Any] = {"priority": chance.randint(-1, 1)}
    if chance.random() < 0.2:
        options["delay_s"] = round(chance.uniform(0.1, 2.0), 3)
    return _job("steps", {"n": n}, _done(n), tuple(f"s{i}" for i in range(n)), options=options)


def _once(chance: random.Random) -> Job:
    return _job("once", None, ["pay done", "tell done", "post done"], ("pay", "tell", "post"))


def _tree(chance: random.Random) -> Job:
    children = [chance.randint(1, 3) for _ in range(chance.randint(2, 6))]
    result = [[_done(n) for n in children], "beside done", "after done"]
    return _job("tree", {"children": children}, result, ("beside", "after"), tasks=1 + len(children))


def _deep(chance: random.Random, depth: int | None = None) -> Job:
    depth = chance.randint(2, 5) if depth is None else depth
    return _job("deep", {"depth": depth}, depth, tasks=depth + 1)


def _sleepy(chance: random.Random) -> Job:
    seconds = round(chance.choice([chance.uniform(0.0, 0.5), chance.uniform(1.0, 3.0)]), 3)
    return Job("sleepy", "function/sleepy", {"seconds": seconds})


def _asking(chance: random.Random) -> Job:
    return _job("asking", None, ["before done", "yes", "after done"], ("before", "after"))


def _listening(chance: random.Random) -> Job:
    return _job("listening", None, [1, "between done", 2], ("between",))


def _limited(chance: random.Random) -> Job:
    return _job("limited", None, "crm done", ("crm",))


def _stumbling(chance: random.Random) -> Job:
    return _job("stumbling", None, ["safe done", "unsafe done"], ("safe", "unsafe"), options={"retry": PATIENT})


def _failing(chance: random.Random) -> Job:
    policy = RetryPolicy(attempts=3, initial_s=0.02, max_s=0.2)
    return Job("failing", "function/failing", None, {"retry": policy}, state="failed", error_type="transient")


def _flow(chance: random.Random) -> Job:
    return Job("flow", "workflow/flow", {"n": 1}, results=("v1 first done second done",), steps=("first", "second"))


def _wide(chance: random.Random, children: int) -> Job:
    return _job("wide", {"children": children}, children, tasks=1 + children)


def _large(chance: random.Random, size: int) -> Job:
    return _job("large", {"bytes": size, "text": "y" * size}, [size, size, "x" * size])


def _blocking(chance: random.Random, seconds: float) -> Job:
    return _job("blocking", {"seconds": seconds}, "block done", ("block",))


def _poison(chance: random.Random) -> Job:
    return Job("poison", "function/poison", None, state="failed", error_type="poison")


def _changing(chance: random.Random) -> Job:
    seconds = round(chance.uniform(0.2, 2.5), 3)
    both: tuple[Any, ...] = (["1", "1"], ["2", "2"])
    return Job("changing", "function/changing", {"seconds": seconds}, results=both)


def _versioned(chance: random.Random) -> Iterator[Job]:
    """What only some versions of the code have: a worker of another must leave it alone."""
    yield _job("newer", None, "new done", ("new",))
    yield _job("older", None, "old done", ("old",))
    for _ in range(4):
        yield Job("modern", "tool/call", {"tool": "modern"}, results=("call done",), steps=("call",))


#: The mixture of every run, by weight.
_MIXTURE: dict[Callable[[random.Random], Job], int] = {
    _steps: 40,
    _once: 6,
    _tree: 12,
    _deep: 3,
    _sleepy: 6,
    _asking: 3,
    _listening: 3,
    _limited: 10,
    _stumbling: 8,
    _failing: 2,
    _flow: 6,
}


@dataclass(frozen=True, slots=True)
class Extras:
    """What some faults add to the mixture, in tasks; and how large the large things are."""

    blocking: int = 0
    blocked_s: float = 0.0
    poison: int = 0
    changing: int = 0
    versioned: int = 0
    wide: int = 0
    deep: int = 0
    large: int = 0
    large_bytes: int = 1 << 20


def make_jobs(seed: int, tasks: int, extras: Extras) -> list[Job]:
    """Jobs that make at least so many tasks, the extras among them, in a random order."""
    chance = random.Random(seed)
    jobs = list(_extras(chance, extras))
    made = sum(job.tasks for job in jobs)
    kinds, weights = list(_MIXTURE), list(_MIXTURE.values())
    while made < tasks:
        job = chance.choices(kinds, weights)[0](chance)
        jobs.append(job)
        made += job.tasks
    chance.shuffle(jobs)
    for number, job in enumerate(jobs):
        job.options["idempotency_key"] = f"job {number}"
    return jobs


def _extras(chance: random.Random, extras: Extras) -> Iterator[Job]:
    for _ in range(extras.blocking):
        yield _blocking(chance, extras.blocked_s)
    for _ in range(extras.poison):
        yield _poison(chance)
    for _ in range(extras.changing):
        yield _changing(chance)
    for _ in range(extras.versioned):
        yield from _versioned(chance)
    for _ in range(extras.large):
        yield _large(chance, extras.large_bytes)
    if extras.wide:
        yield _wide(chance, extras.wide)
    if extras.deep:
        yield _deep(chance, extras.deep)
