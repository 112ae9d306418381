"""Killed at each write, a run that waits for people, messages and time ends as if nothing had happened."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from opspawn.contracts.run import Handler
from opspawn.contracts.store import Query, TaskState
from opspawn.errors import InvalidTransition
from opspawn.testing import crash_everywhere


async def talk(engine: Any, task: str) -> None:
    """Sends two signals, pauses the task once, and answers what it asks, until it has ended."""
    with suppress(InvalidTransition):
        for n in range(2):
            await engine.signal(task, "n", n, id=f"n{n}")
        if not any(event.type in ("task.paused", "pause.requested") for event in await engine.journal(task)):
            await engine.pause(task)
    while not (found := await engine.task(task)).state.terminal:
        with suppress(InvalidTransition):
            if found.state is TaskState.PAUSED:
                await engine.resume(task)
            for asked in (await engine.questions(Query(where={"state": "open", "root": task}))).items:
                await engine.answer(asked.id, f"answer to {asked.question.text}")
        await asyncio.sleep(0.01)


async def test_signals_questions_pauses_and_time_outs(tmp_path: Path) -> None:
    def begin() -> Mapping[str, Handler]:
        async def work(ctx: Any) -> Any:
            first = await ctx.wait("n")
            both = await ctx.gather(ctx.ask("Well?"), ctx.wait("n", timeout_s=60))
            late = await ctx.ask("Never?", timeout_s=0.0, default="nobody said")
            return [first, both, late]

        return {"function/work": work}

    runs = await crash_everywhere(begin, "function/work", folder=tmp_path, meanwhile=talk)

    assert runs[0].task.result == [0, ["answer to Well?", 1], "nobody said"]
    assert len(runs) > 20
    for run in runs:
        for journal in run.journals.values():
            told = [event.data["question"] for event in journal if event.type == "question.asked"]
            taken = [event.data["signal"] for event in journal if "signal" in event.data]
            assert len(told) == len(set(told))
            assert len(taken) == len(set(taken))


async def test_a_tree_past_its_deadline(tmp_path: Path) -> None:
    def begin() -> Mapping[str, Handler]:
        async def work(ctx: Any) -> Any:
            return await ctx.gather(ctx.spawn("function/child"), ctx.ask("Well?"))

        async def child(ctx: Any) -> None:
            await ctx.wait("never")

        return {"function/work": work, "function/child": child}

    runs = await crash_everywhere(begin, "function/work", folder=tmp_path, options={"deadline_s": 0.1})

    for run in runs:
        assert (run.task.state, run.task.error and run.task.error["type"]) == (TaskState.FAILED, "timeout")
