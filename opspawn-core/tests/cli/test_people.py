"""Questions of a run, put to whoever sits at the terminal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from opspawn import App, tool
from opspawn.cli.people import People
from opspawn.cli.questions import meant
from opspawn.cli.screen import Screen
from opspawn.config import load_settings
from opspawn.contracts.run import RunContext
from opspawn.contracts.store import Query, Task
from opspawn.errors import InvalidInput
from opspawn.host import Host

PATIENCE_S = 30.0


@tool(effect="once")
async def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


async def pays(ctx: RunContext) -> Any:
    """Pays twice, for which the configuration wants approvals."""
    return [await ctx.call(pay, {"amount": 5}, key=key) for key in ("a", "b")]


async def chooses(ctx: RunContext) -> Any:
    """Asks for one of two."""
    return await ctx.ask("Which colour?", choices=["red", "blue"])


async def counts(ctx: RunContext) -> Any:
    """Asks for a number."""
    return await ctx.ask("How many?", schema={"type": "integer"})


class Desk:
    """A host, and somebody who types what a test says."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.left: list[str] = []
        self.silent = asyncio.Event()

    async def typed(self) -> str | None:
        """The next line; when there is none, the person thinks for ever."""
        if not self.left:
            self.silent.set()
            await asyncio.Event().wait()
        return self.left.pop(0)

    async def run(self, function: str, *lines: str) -> Task:
        """Run a function, and answer what it asks."""
        self.left = list(lines)
        task = await self.host.submit(f"function/{function}", {})
        people = People(self.host, Screen(), self.typed)
        serving = asyncio.create_task(people.serve())
        try:
            async with asyncio.timeout(PATIENCE_S):
                async for event in self.host.stream(task.id):
                    if event.type in ("approval_asked", "question_asked"):
                        people.ask(getattr(event, "question", ""))
                    elif event.type in ("approval_decided", "question_answered"):
                        people.over(getattr(event, "question", ""))
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        return await self.host.task(task.id)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    app = App(functions={"pays": pays, "chooses": chooses, "counts": counts})
    loaded = load_settings(cwd=tmp_path, overrides={"worker.poll_s": 0.05, "policy.once": "ask"})
    async with Host.open(app, loaded=loaded) as host:
        yield Desk(host)


async def test_each_approval_is_asked_and_decided(desk: Desk) -> None:
    assert (await desk.run("pays", "y", "yes")).result == ["paid 5", "paid 5"]


async def test_what_is_always_allowed_is_asked_once(desk: Desk) -> None:
    assert (await desk.run("pays", "a")).result == ["paid 5", "paid 5"]


async def test_other_arguments_are_used_and_what_is_not_understood_asked_again(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    done = await desk.run("pays", "perhaps", "e", "[3", "e", "[3]", "e", "", "e", '{"amount": 3}', "y")

    assert done.result == ["paid 3", "paid 5"]
    told = capsys.readouterr().err
    assert "May pays call the tool pay" in told
    assert "The arguments are no JSON object." in told


async def test_a_denial_carries_the_reason(desk: Desk) -> None:
    done = await desk.run("pays", "n", "Too late.")

    assert done.error is not None
    assert "Too late." in done.error["message"]


async def test_a_choice_is_named_by_its_number_or_in_words(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert (await desk.run("chooses", "green", "2")).result == "blue"
    assert (await desk.run("chooses", "red")).result == "red"
    assert "  1) red\n  2) blue\n" in capsys.readouterr().err


async def test_an_answer_that_does_not_fit_is_refused_in_words_and_asked_again(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (await desk.run("counts", "many", "", "7")).result == 7
    assert "an integer" in capsys.readouterr().err


async def test_what_somebody_else_decides_meanwhile_is_not_asked_any_more(desk: Desk) -> None:
    async def elsewhere() -> None:
        await desk.silent.wait()
        [asked] = (await desk.host.questions(Query(where={"state": "open"}))).items
        await desk.host.answer(asked.id, "blue")

    other = asyncio.create_task(elsewhere())
    assert (await desk.run("chooses")).result == "blue"
    await other


async def test_who_answers_an_approval_like_a_question_is_told_the_command_that_decides(desk: Desk) -> None:
    await desk.host.submit("function/pays")
    while not (found := (await desk.host.approvals(Query(where={"state": "open"}))).items):  # noqa: ASYNC110
        await asyncio.sleep(0.02)

    with pytest.raises(InvalidInput, match=f"opspawn approvals approve {found[0].id}"):
        meant(found[0], "yes")
    assert meant(found[0], '{"decision": "deny"}') == {"decision": "deny"}
