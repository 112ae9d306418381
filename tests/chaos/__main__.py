"""`python3 dev chaos`: real workers on a store, with faults; what came of it, and 1 if a promise was broken."""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .cells import extras_for, preset
from .faults import BOTH, FAULTS, STORES
from .run import Cell, run

_TASKS = 500


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 if every promise was kept, 1 if one was broken, 2 for a wrong command line."""
    given, parser = _read(arguments)
    seed = random.randrange(1_000_000) if given.seed is None else given.seed
    faults = frozenset(given.faults.upper().split(",")) if given.faults else frozenset()
    if unknown := sorted(faults - FAULTS.keys()):
        parser.error(f"there is no fault {unknown[0]!r}. Known: {', '.join(FAULTS)}.")
    if foreign := sorted(name for name in faults if given.store not in STORES.get(name, BOTH)):
        parser.error(f"the store {given.store!r} does not meet {', '.join(foreign)}.")
    if given.preset:
        cells = preset(
            given.preset, seed, given.lease, given.workers, only=faults, scale=given.scale, store=given.store
        )
        if not cells:
            parser.error(f"no run of a preset has {', '.join(sorted(faults))}.")
    else:
        faults = faults or frozenset({"F1"})
        extras = extras_for(faults, "pr", given.lease)
        tasks = given.tasks or _TASKS
        cell = Cell(faults, tasks, given.workers, given.seconds, seed, given.lease, extras, store=given.store)
        cells = [replace(cell, networks=True)]
    failed = [cell for cell in cells if not _run(cell, given.keep)]
    if failed:
        print(f"{len(failed)} of {len(cells)} runs broke a promise; seed {seed}.")
    return 1 if failed else 0


def _read(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser(
        prog="dev chaos",
        description="Run real workers on one store while things go wrong, and check every promise.",
        epilog="Faults: " + "; ".join(f"{name}: {words}" for name, (_, words) in FAULTS.items()) + ".",
    )
    parser.add_argument("--faults", metavar="F1,F3", help="which, at the same time (F1); of a preset, its runs")
    parser.add_argument("--tasks", type=int, metavar="N", help=f"at least so many tasks ({_TASKS})")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="processes (4)")
    parser.add_argument("--seconds", type=float, metavar="S", help="spread the asking over so long; else all at once")
    parser.add_argument("--lease", type=float, default=2.0, metavar="S", help="seconds of a lease (2)")
    parser.add_argument("--seed", type=int, metavar="N", help="decides the work and the faults; else by chance")
    parser.add_argument("--store", choices=["sqlite", "redis"], default="sqlite", help="the store (sqlite)")
    parser.add_argument("--preset", choices=["test", "pr", "nightly"], help="all faults, by a named size")
    parser.add_argument(
        "--scale", type=float, default=1.0, metavar="X", help="of a preset: its tasks, times so much (1)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder of each run")
    given = parser.parse_args(arguments)
    for name in ("tasks", "workers"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            parser.error(f"--{name} needs a number from 1.")
    if given.scale <= 0 or (given.scale != 1.0 and not given.preset):
        parser.error("--scale needs a number above 0, and a preset.")
    if given.preset and (given.tasks is not None or given.seconds is not None):
        parser.error("--tasks and --seconds do not go with a preset, which has its own; --scale does.")
    if given.lease < 1 or (given.seconds is not None and given.seconds <= 0):
        parser.error("--lease needs 1 second or more, --seconds more than 0.")
    return given, parser


def _run(cell: Cell, keep: bool) -> bool:
    names = ", ".join(sorted(cell.faults, key=lambda name: int(name[1:])))
    print(f"{names}: {'; '.join(FAULTS[name][1] for name in names.split(', '))} (seed {cell.seed})", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="opspawn-chaos-"))
    outcome = asyncio.run(run(cell, folder))
    for line in outcome.lines():
        print(f"  {line}", flush=True)
    if keep or outcome.broken:
        print(f"  kept in {folder}", flush=True)
    else:
        shutil.rmtree(folder)
    return not outcome.broken


if __name__ == "__main__":
    sys.exit(main())
