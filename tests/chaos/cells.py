"""The named sizes: which faults are run together, and how much work each meets."""

from __future__ import annotations

from collections.abc import Iterable

from opspawn.agentkit.budget import MAX_TASK_DEPTH

from .faults import BOTH, STORES
from .plan import Extras
from .run import Cell

#: Numbers of a size, by name: tasks for a fault that meets all tasks, and for one that needs few.
_SIZES = {"test": (80, 25), "pr": (500, 100), "nightly": (20_000, 1_000)}
#: Each line is one run. The first faults of the matrix are run alone, so that a failure names its cause.
_RUNS: tuple[tuple[str, ...], ...] = (
    ("F1",),
    ("F2",),  # not with F16: a good task that is killed at a fault point too looks like poison
    ("F16",),
    ("F3", "F5"),
    ("F4",),
    ("F10", "F11"),
    ("F12", "F21"),
    ("F17",),
    ("F18",),
    ("F19",),
    ("F20",),
    ("F23",),
)
#: On Redis beside those of above that need no file.
_RUNS_ON_REDIS: tuple[tuple[str, ...], ...] = (("F6",), ("F7",), ("F8",), ("F9",), ("F14",), ("F15",), ("F22",))
#: In small more of them at once, since every run starts a server and four workers.
_SMALL_RUNS_ON_REDIS: tuple[tuple[str, ...], ...] = (
    ("F1",),
    ("F2", "F10"),
    ("F16",),
    ("F3", "F5"),
    ("F9",),
    ("F4",),
    ("F6", "F8"),
    ("F7", "F14", "F15"),
    ("F17",),
    ("F18",),
    ("F19",),
    ("F22",),
    ("F23",),
)
#: Tasks of the runs that need more or fewer than the others.
_TASKS = {"F17": {"test": 10, "pr": 60, "nightly": 1_200}, "F23": {"test": 100, "pr": 2_000, "nightly": 10_000}}
#: Over how many seconds the asking is spread, where another time than usual is.
_SECONDS: dict[str, dict[str, float | None]] = {
    "F17": {"test": 6.0, "pr": 60.0, "nightly": 1_200.0},
    "F23": dict.fromkeys(_SIZES, None),
}


def extras_for(faults: Iterable[str], size: str, lease_s: float) -> Extras:
    """What the faults that live in the work itself add to it."""
    named = set(faults)
    factor = {"test": 1, "pr": 5, "nightly": 40}[size]
    large = "F20" in named
    return Extras(
        blocking=2 * factor if "F5" in named else 0,
        blocked_s=2 * lease_s,
        poison=1 if size == "test" and "F16" in named else 5 * factor if "F16" in named else 0,
        changing=10 * factor if "F18" in named else 0,
        versioned=2 * factor if "F18" in named else 0,
        wide={"test": 120, "pr": 10_000, "nightly": 10_000}[size] if large else 0,
        deep={"test": 12, "pr": MAX_TASK_DEPTH, "nightly": MAX_TASK_DEPTH}[size] if large else 0,
        large=2 * min(factor, 10) if large else 0,
        large_bytes=1 << 20,
    )


def preset(
    size: str,
    seed: int,
    lease_s: float,
    workers: int,
    *,
    only: frozenset[str] = frozenset(),
    scale: float = 1.0,
    store: str = "sqlite",
) -> list[Cell]:
    """The runs of a size: those with one of the faults `only`, if any are named, with `scale` times as many tasks."""
    many, few = (40, 15) if (size, store) == ("test", "redis") else _SIZES[size]
    found = []
    for faults in runs_on(store, size):
        if only and only.isdisjoint(faults):
            continue
        usual = few if faults[0] in ("F3", "F9", "F10") else many
        tasks = max(10, round(scale * _TASKS.get(faults[0], {}).get(size, usual)))
        found.append(
            Cell(
                frozenset(faults),
                tasks,
                workers=workers,
                seconds=_SECONDS.get(faults[0], {"test": 2.0, "pr": 15.0, "nightly": None})[size],
                seed=seed,
                lease_s=lease_s,
                extras=extras_for(faults, size, lease_s),
                snapshots={"test": 4, "pr": 20, "nightly": 100}[size],
                patience_s={"test": 30.0, "pr": 120.0, "nightly": 600.0}[size],
                store=store,
                networks=size != "test",
                longest_s={"test": 12.0, "pr": 180.0, "nightly": None}[size],
            )
        )
    return found


def runs_on(store: str, size: str) -> list[tuple[str, ...]]:
    """The faults that are run together, of those that a store can meet."""
    if (size, store) == ("test", "redis"):
        return list(_SMALL_RUNS_ON_REDIS)
    runs = [*_RUNS, *(_RUNS_ON_REDIS if store == "redis" else ())]
    chosen = (tuple(name for name in run if store in STORES.get(name, BOTH)) for run in runs)
    return [run for run in chosen if run]
