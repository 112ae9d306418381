"""The people of a chaos run: those who ask for tasks, and an operator who answers, signals, resumes and decides."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from opspawn.contracts.store import Query, Task
from opspawn.errors import InvalidInput, InvalidTransition, NotFound, StoreError
from opspawn.host import Host
from opspawn.ops.engine.doubts import open_doubts

from .effects import Effect, read_effects
from .plan import Job

T = TypeVar("T")

_CALLERS = 32
#: A run that was paused so often began under other code than the workers have now: it cannot go on.
_RESUMES = 3


async def insist(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until the store answers."""
    while True:
        try:
            return await ask()
        except StoreError:
            await asyncio.sleep(0.1)


async def call_all(host: Host, jobs: list[Job], seconds: float | None) -> list[str]:
    """Ask for all jobs, spread over so many seconds; what is wrong, in sentences."""
    turns = asyncio.Semaphore(_CALLERS)
    wrong: list[str] = []

    async def call(number: int, job: Job) -> None:
        if seconds is not None:
            await asyncio.sleep(seconds * number / len(jobs))
        async with turns:
            asks = [
                insist(lambda: host.submit(job.handler, job.input, **job.options)) for _ in range(1 + (number % 5 == 0))
            ]
            ids = {task.id for task in await asyncio.gather(*asks)}
            job.id = min(ids)
            if len(ids) > 1:
                wrong.append(f"idempotency: one key gave the tasks {', '.join(sorted(ids))}")
            if job.kind == "listening":
                await _signal(host, job.id)

    await asyncio.gather(*(call(number, job) for number, job in enumerate(jobs)))
    return wrong


async def _signal(host: Host, task: str) -> None:
    """Two messages, the first of them twice."""
    for n, id in ((1, "a"), (1, "a"), (2, "b")):
        with suppress(InvalidTransition, NotFound):
            await insist(lambda n=n, id=id: host.signal(task, "go", n, id=id))  # type: ignore[misc]


@dataclass(slots=True)
class Operator:
    """Decides, until cancelled.

    Attributes:
        again: how often each effect was allowed to begin again, by task and step. resumed: by task.
        given_up: tasks that were cancelled because no code is there any more that could go on with them.
    """

    host: Host
    folder: Path
    again: Counter[tuple[str, str]] = field(default_factory=Counter)
    resumed: Counter[str] = field(default_factory=Counter)
    given_up: set[str] = field(default_factory=set)

    async def work(self) -> None:
        """Look around, over and over."""
        while True:
            await asyncio.sleep(0.25)
            with suppress(StoreError):
                await self._answer()
                await self._decide()
                await self._resume()

    async def _answer(self) -> None:
        page = await self.host.questions(Query(where={"state": "open"}, limit=200))
        for asked in page.items:
            with suppress(InvalidTransition, NotFound):
                await self.host.answer(asked.id, "yes", by="operator")

    async def _decide(self) -> None:
        page = await self.host.tasks(Query(where={"state": "in_doubt"}, limit=200))
        if not page.items:
            return
        effects = await asyncio.to_thread(read_effects, self.folder)
        for task in page.items:
            for doubt in open_doubts(task):
                await self._resolve(task, doubt["key"], effects)

    async def _resolve(self, task: Task, key: str, effects: list[Effect]) -> None:
        happened = any(one.what == "done" and (one.task, one.step) == (task.id, key) for one in effects)
        if not happened:
            self.again[task.id, key] += 1  # before it is known whether the decision counts
        outcome: tuple[str, Any] = ("happened", f"{key} done") if happened else ("again", None)
        with suppress(InvalidTransition, InvalidInput):
            await self.host.resolve(task.id, *outcome, key=key, by="operator")

    async def _resume(self) -> None:
        page = await self.host.tasks(Query(where={"state": "paused"}, limit=200))
        for task in page.items:
            with suppress(InvalidTransition):
                if self.resumed[task.id] < _RESUMES:
                    self.resumed[task.id] += 1
                    await self.host.resume(task.id, by="operator")
                else:
                    self.given_up.add(task.id)
                    await self.host.cancel(task.id)
