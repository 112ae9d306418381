"""Five hundred worlds in which everything goes wrong, and what becomes of them when a guard is missing."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest

from opspawn.contracts.clock import Clock
from opspawn.contracts.store import Append, Batch, Claim, Lease, Put, Receipt, Task, Wake
from opspawn.testing import ModelStore
from opspawn.testing.simulation import simulate
from opspawn.testing.simulation.__main__ import main
from opspawn.testing.simulation.programs import Failed, expected, make_program

SEEDS = 500
PARTS = 25


@pytest.mark.proof
@pytest.mark.parametrize("part", range(PARTS))
def test_every_world_ends_as_promised(part: int) -> None:
    seeds = range(part, SEEDS, PARTS)

    assert {seed: report.broken for seed in seeds if (report := simulate(seed)).broken} == {}


def test_a_seed_decides_everything() -> None:
    once, again, other = simulate(3), simulate(3), simulate(4)

    assert once == again
    assert once.trace != other.trace
    assert once.faults > 3
    assert once.events > 30


class WithoutAGuard(ModelStore):
    """A store on which something that is promised does not hold."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(now=clock.time)


class NoFence(WithoutAGuard):
    """Takes every write as if it carried the token of the moment."""

    def _append(self, append: Append) -> int:
        if append.token is None or append.task is None:
            return super()._append(append)
        task = self._tasks[append.task].task
        return self._journal(append.task, append.event, task.agent, task.session)

    def _put_task(self, put: Put, task: Task) -> int:
        if put.token is not None:
            now = self._tasks[task.id].task
            put = replace(put, token=now.token if now.state == "running" else None, expect=now.version)
        return super()._put_task(put, task)


class NoLease(WithoutAGuard):
    """Leaves what was claimed to others before it is done."""

    async def claim(self, claim: Claim) -> list[Lease]:
        return await super().claim(replace(claim, lease_s=0.5))


class NoVersions(WithoutAGuard):
    """Lets a decision overwrite what it did not see."""

    async def commit(self, batch: Batch) -> Receipt:
        return await super().commit(Batch([self._current(operation) for operation in batch.operations], batch.id))

    def _current(self, operation: Any) -> Any:
        if isinstance(operation, Put) and isinstance(operation.record, Task) and operation.record.id in self._tasks:
            return replace(operation, expect=self._tasks[operation.record.id].task.version)
        return operation


class NoIntents(WithoutAGuard):
    """Forgets that a `once` effect is about to begin."""

    async def commit(self, batch: Batch) -> Receipt:
        kept = [one for one in batch.operations if not (isinstance(one, Append) and one.event.type == "step.started")]
        receipt = await super().commit(Batch(kept, batch.id))
        return receipt if len(kept) == len(batch.operations) else Receipt((), (0,), receipt.time)


class RestartsCost(WithoutAGuard):
    """Counts it as a failure when a worker gives a task back."""

    async def commit(self, batch: Batch) -> Receipt:
        released = any(isinstance(one, Append) and one.event.type == "task.released" for one in batch.operations)
        operations: Sequence[Any] = batch.operations
        if released:
            operations = [
                replace(one, record=replace(one.record, attempt=one.record.attempt + 1))
                if isinstance(one, Put) and isinstance(one.record, Task)
                else one
                for one in operations
            ]
        return await super().commit(Batch(operations, batch.id))


class ForgetsNews(WithoutAGuard):
    """Does not wake who is told something."""

    async def commit(self, batch: Batch) -> Receipt:
        told = [one for one in batch.operations if not isinstance(one, Wake)]
        return await super().commit(Batch(told, batch.id))


class NoLimits(WithoutAGuard):
    """Finds a place for everybody."""

    def _has_room(self, row: Any) -> bool:
        return True


WITHOUT = [NoFence, NoLease, NoIntents, RestartsCost, ForgetsNews, NoVersions, NoLimits]


@pytest.mark.parametrize("store", WITHOUT)
def test_a_missing_guard_is_noticed_in_several_worlds(store: Callable[[Clock], WithoutAGuard]) -> None:
    noticed = (seed for seed in range(6) if simulate(seed, store, storm_s=180.0).broken)

    assert len(list(islice(noticed, 2))) == 2


def test_programs_end_well_and_badly() -> None:
    outcomes = set()
    for seed in range(200):
        try:
            outcomes.add(type(expected(make_program(random.Random(seed), "p"))))
        except Failed:
            outcomes.add(Failed)

    assert outcomes == {list, Failed}


def test_the_command_says_which_seed_failed_and_shows_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "3", "--first", "7"]) == 0
    assert "3 worlds with" in capsys.readouterr().out
    assert main(["--seed", "7"]) == 0
    trace = capsys.readouterr().out
    assert "task.accepted" in trace
    assert "-- calm" in trace
