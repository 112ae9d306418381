"""Killed at each write, a run that waits for people, messages and time ends as if nothing had happened."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from opspawn import App
from opspawn.contracts.store import Query, Task, TaskState
from opspawn.errors import InvalidTransition
from opspawn.host import Host
from opspawn.testing import crash_everywhere, virtual_time


async def talk(host: Host) -> Task:
    """Sends two signals, pauses the task once, and answers what it asks, until it has ended."""
    task = (await host.submit("function/work")).id
    for n in range(2):
        await host.signal(task, "n", n, id=f"n{n}")
    await host.pause(task)
    while not (found := await host.task(task)).state.terminal:
        with suppress(InvalidTransition):
            if found.state is TaskState.PAUSED:
                await host.resume(task)
            for asked in (await host.questions(Query(where={"state": "open", "root": task}))).items:
                await host.answer(asked.id, f"answer to {asked.question.text}")
        await asyncio.sleep(1.0)
    return found


@virtual_time
async def test_signals_questions_pauses_and_time_outs() -> None:
    async def work(ctx: Any) -> Any:
        first = await ctx.wait("n")
        both = await ctx.gather(ctx.ask("Well?"), ctx.wait("n", timeout_s=60))
        late = await ctx.ask("Never?", timeout_s=0.0, default="nobody said")
        return [first, both, late]

    runs = await crash_everywhere(App(functions={"work": work}), talk)

    assert runs[0].answer[1] == [0, ["answer to Well?", 1], "nobody said"]
    assert len(runs) > 15
    for run in runs:
        for journal in run.journals.values():
            told = [event.data["question"] for event in journal if event.type == "question.asked"]
            taken = [event.data["signal"] for event in journal if "signal" in event.data]
            assert len(told) == len(set(told))
            assert len(taken) == len(set(taken))


@virtual_time
async def test_a_tree_past_its_deadline() -> None:
    async def work(ctx: Any) -> Any:
        return await ctx.gather(ctx.spawn("function/child"), ctx.ask("Well?"))

    async def child(ctx: Any) -> None:
        await ctx.wait("never")

    async def scenario(host: Host) -> Task:
        task = await host.submit("function/work", deadline_s=60.0)
        return await host.wait(task.id, 1e6)

    runs = await crash_everywhere(App(functions={"work": work, "child": child}), scenario)

    for run in runs:
        assert (run.answer[0], run.answer[2][0]) == (TaskState.FAILED, "timeout")
