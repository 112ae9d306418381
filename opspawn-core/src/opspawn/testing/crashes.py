"""`crash_everywhere`: run a scenario again and again, its worker killed before and after each of its writes in turn."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opspawn.app import App
from opspawn.config import Loaded
from opspawn.config.settings import Settings
from opspawn.contracts.clock import SYSTEM_CLOCK
from opspawn.contracts.events import Event
from opspawn.contracts.store import Store, Task
from opspawn.opening import load_plugins
from opspawn.ops.run.executor import WorkerOptions
from opspawn.stores.sqlite import open_sqlite
from opspawn.testing.crash_stage import Decide, OpenStore, Play, Scenario, Stage
from opspawn.testing.invariants import InvariantsBroken, find_violations, read_everything
from opspawn.testing.mortal import Mortal
from opspawn.testing.punctual import POLL_S
from opspawn.testing.store_model import ModelStore
from opspawn.testing.virtual import VirtualClock, VirtualLoop

_PATIENCE_S = 30.0
_VIRTUAL_PATIENCE_S = 366 * 86400.0


@dataclass(frozen=True, slots=True)
class CrashRun:
    """One run: its worker was killed at its `write`-th write (0: never), before or `after` that was applied.

    Attributes:
        answer: what the scenario returned; tasks as they ended: state, result, and class and text of the error.
        effects: what `effects()` said then. doubts: how many steps in doubt were decided.
        writes: how often the first worker wrote. tasks: newest first. journals: by task.
    """

    write: int
    after: bool
    answer: Any
    effects: Any
    doubts: int
    writes: int
    tasks: Sequence[Task]
    journals: Mapping[str, Sequence[Event]]


async def crash_everywhere(
    begin: App | Callable[[], App],
    scenario: Scenario,
    *,
    effects: Callable[[], Any] = lambda: None,
    decide: Decide | None = None,
    open_store: OpenStore | None = None,
    lease_s: float = 30.0,
    loaded: Loaded | None = None,
) -> list[CrashRun]:
    """Run a scenario undisturbed, and then twice for each write of its worker, killed before and after that write.

    After the kill nothing of the worker reaches the store any more, and another one goes on. The scenario acts as
    clients do, from a process that lives. A run is over when the scenario has returned and every task has ended or is
    paused. All runs must end alike: the scenario's answer, the outcome of every task, and `effects()`; and each store
    must hold what is promised, see `assert_invariants`. In virtual time (`@virtual_time`) this takes milliseconds.

    Args:
        begin: the app, or what makes it at the start of each run, e.g. with new counters of effects.
        effects: what has happened outside, in a form that can be compared; asked at the end of each run.
        decide: answers for steps in doubt, which only `once` effects cause, unless the scenario does.
        open_store: opens the store of a run, by its name, for one process more, and is closed with it; by default a
            model in virtual time, else SQLite.
        lease_s: how long, in seconds, the tasks of a killed worker wait for another one, where the store cannot tell.
        loaded: the configuration; by default the defaults of all settings.

    Returns: the runs, the undisturbed one first.

    Raises: AssertionError: names the write and how the run differs.
    """
    loop = asyncio.get_running_loop()
    clock = loop.clock if isinstance(loop, VirtualLoop) else None
    with tempfile.TemporaryDirectory(prefix="opspawn-crashes-") as folder:
        loaded = loaded or Loaded(Settings(), folder=Path(folder))
        stage = Stage(
            scenario,
            decide,
            open_store or (_files(folder) if clock is None else _models(clock)),
            clock or SYSTEM_CLOCK,
            loaded,
            load_plugins(loaded),
            WorkerOptions(lease_s=lease_s, poll_s=0.05 if clock is None else POLL_S),
            _PATIENCE_S if clock is None else _VIRTUAL_PATIENCE_S,
        )
        clean = await _run(stage, begin, effects, 0, False)
        runs = [clean]
        for write in range(1, clean.writes + 1):
            for after in (False, True):
                run = await _run(stage, begin, effects, write, after)
                _check_alike(clean, run, f"killed {'after' if after else 'before'} write {write}")
                runs.append(run)
        return runs


async def _run(
    stage: Stage, begin: App | Callable[[], App], effects: Callable[[], Any], write: int, after: bool
) -> CrashRun:
    where = f"killed {'after' if after else 'before'} write {write}" if write else "undisturbed"
    name = where.replace(" ", "-")
    store = await stage.open_store(name)
    try:
        play = Play(stage, begin if isinstance(begin, App) else begin(), store, name)
        try:
            await play.run(write, after)
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from error
        tasks, events = await read_everything(store)
        if found := find_violations(tasks, events):
            raise AssertionError(f"{where}: {InvariantsBroken(found)}")
        journals = {task.id: [event for event in events if event.task == task.id] for task in tasks}
        answer = _comparable(play.answer)
        return CrashRun(write, after, answer, effects(), play.doubts, play.writes, tasks, journals)
    finally:
        await store.aclose()


def _files(folder: str) -> OpenStore:
    return lambda name: open_sqlite(f"{folder}/{name}.db", synchronous="normal")


def _models(clock: VirtualClock) -> OpenStore:
    """Each run has one model, which the processes share."""
    models: dict[str, ModelStore] = {}

    async def open_model(name: str) -> Store:
        return Mortal(models.setdefault(name, ModelStore(now=clock.time)))

    return open_model


def _check_alike(clean: CrashRun, run: CrashRun, where: str) -> None:
    for what, wanted, found in (
        ("the answer is", clean.answer, run.answer),
        ("the tasks end as", _ends(clean.tasks), _ends(run.tasks)),
        ("the effects are", clean.effects, run.effects),
    ):
        if found != wanted:
            raise AssertionError(f"{where}: {what} {found}, undisturbed {wanted}")


def _ends(tasks: Sequence[Task]) -> list[str]:
    return sorted(f"{task.handler} {_comparable(task)}" for task in tasks)


def _comparable(answer: Any) -> Any:
    """An answer without what differs between runs: of a task, its state, its result, and the class and text of its
    error.
    """
    if isinstance(answer, Task):
        error = answer.error or {}
        return str(answer.state), answer.result, (error.get("type"), error.get("message"))
    if isinstance(answer, list | tuple):
        return [_comparable(item) for item in answer]
    return answer
