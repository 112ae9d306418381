"""What happened outside, read from the lines that the effects wrote."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .workload import CRM, EFFECTS

ONCE = frozenset({"pay", "post"})


@dataclass(frozen=True, slots=True)
class Effect:
    """One line: an effect began or is done, in a process, at a time in epoch seconds."""

    at: float
    what: str
    task: str
    step: str
    key: str
    pid: int


def read_effects(folder: Path) -> list[Effect]:
    """All complete lines, in the order in which they were written."""
    path = folder / EFFECTS
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [Effect(**json.loads(line)) for line in lines]


def begun_too_often(effects: Iterable[Effect], again: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """`once` effects that began more than once, beyond what somebody decided."""
    begun = Counter((one.task, one.step) for one in effects if one.what == "begin" and one.step in ONCE)
    for (task, step), times in begun.items():
        if times > 1 + again.get((task, step), 0):
            yield f"once: task {task} began the effect {step!r} {times} times, outside"


def changed_keys(effects: Iterable[Effect]) -> Iterator[str]:
    """Effects that came with several idempotency keys."""
    keys: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one in effects:
        keys[one.task, one.step].add(one.key)
    for (task, step), used in keys.items():
        if len(used) > 1:
            yield f"keys: task {task} did the step {step!r} under the keys {', '.join(sorted(used))}"


def repeated(effects: Iterable[Effect], recorded: Mapping[tuple[str, str], float]) -> Iterator[str]:
    """Effects that began after their result was recorded; `recorded` is the time of that, by task and step."""
    for one in effects:
        end = recorded.get((one.task, one.step))
        if one.what == "begin" and end is not None and one.at > end + 0.001:
            yield f"repeated: task {one.task} began {one.step!r} {one.at - end:.3f} s after its result was recorded"


def crowded(effects: Iterable[Effect]) -> Iterator[str]:
    """Moments at which more tasks than allowed were at work under the key of the limited tasks.

    A line without its other half says nothing: its process died, or the effect failed.
    """
    open_ones: dict[tuple[str, int], float] = {}
    moments: list[tuple[float, int]] = []
    for one in effects:
        if one.step == "crm" and one.what == "begin":
            open_ones[one.task, one.pid] = one.at
        elif one.step == "crm" and (began := open_ones.pop((one.task, one.pid), None)) is not None:
            moments += [(began, 1), (one.at, -1)]
    at_work = 0
    for at, change in sorted(moments):
        at_work += change
        if at_work > CRM:
            yield f"limit: {at_work} tasks held a key of {CRM} places at {at:.3f}"
