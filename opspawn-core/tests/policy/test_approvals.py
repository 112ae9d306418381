"""Durable approvals: asked once, bound to the exact call, used by one step, over crashes and restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from opspawn import App, tool
from opspawn.config import Loaded
from opspawn.config.settings import PolicyRule, PolicySettings, Settings, WorkerSettings
from opspawn.contracts.events import NewEvent
from opspawn.contracts.store import Append, Batch, EventQuery, Put, Query, Task, TaskState, Wake
from opspawn.errors import Denied, InvalidInput, InvalidTransition
from opspawn.host import Host
from opspawn.ops.question_records import change
from opspawn.testing import crash_everywhere, virtual_time

ASKS = PolicySettings(rules=[PolicyRule(decision="ask", tool="pay", approvers=["ada"], reason="Money leaves.")])


class Till:
    """An app that pays, and what was paid."""

    def __init__(self, *amounts: int, effect: Any = "once", strict: bool = False) -> None:
        self.paid: list[int] = []
        self.amounts = amounts or (5,)

        @tool(effect=effect)
        async def pay(amount: int) -> str:
            self.paid.append(amount)
            return f"paid {amount}"

        async def work(ctx: Any) -> Any:
            told = []
            for amount in self.amounts:
                try:
                    told.append(await ctx.call(pay, {"amount": amount}, key=f"pay {len(told)}"))
                except Denied as denied:
                    told.append(denied.message)
            return told

        async def strictly(ctx: Any) -> Any:
            return await ctx.call(pay, {"amount": 5})

        async def stumble(ctx: Any) -> Any:
            await work(ctx)
            raise RuntimeError("the printer is out of paper")

        async def parent(ctx: Any) -> Any:
            return await ctx.spawn("function/strict" if strict else "function/work")

        self.app = App(functions={"work": work, "strict": strictly, "stumble": stumble, "parent": parent})


@asynccontextmanager
async def opened(till: Till, folder: Path, policy: PolicySettings = ASKS) -> AsyncIterator[Host]:
    settings = Settings(policy=policy, worker=WorkerSettings(poll_s=0.05), data=str(folder))
    async with Host.open(till.app, loaded=Loaded(settings, folder=folder)) as host:
        yield host


async def asked(host: Host, **where: str) -> Any:
    """The one open approval, once it is there."""
    for _ in range(500):
        found = (await host.approvals(Query(where={"state": "open", **where}))).items
        if found:
            assert len(found) == 1
            return found[0]
        await asyncio.sleep(0.02)
    raise AssertionError("nobody asks")


async def events(host: Host, task: str, *types: str) -> list[dict[str, Any]]:
    return [event.data for event in await host.journal(task) if event.type in types]


async def test_a_call_waits_without_a_slot_for_its_approval_and_names_who_gave_it(tmp_path: Path) -> None:
    till = Till()
    async with opened(till, tmp_path) as host:
        task = await host.submit("function/parent")
        waiting = await asked(host, root=task.id)
        assert (waiting.question.to, waiting.question.call["arguments"]) == ("ada", {"amount": 5})
        while (await host.task(waiting.task)).state is not TaskState.WAITING:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        assert till.paid == []
        (wait,) = (await host.why(waiting.task)).waits
        assert f"opspawn approvals approve {waiting.id}, or opspawn approvals deny" in str(wait.remedy)
        with pytest.raises(InvalidInput):
            await host.answer(waiting.id, {"decision": "perhaps"})
        await host.approve(waiting.id, by="ada")
        ended = await host.wait(task.id, 10)
        used = await host.question(waiting.id)
        told = [event.type for event in await host.journal(waiting.task)]
        with pytest.raises(InvalidTransition, match="answered by ada"):
            await host.deny(waiting.id, by="bob")

    assert ended.result == ["paid 5"]
    assert (used.consumed_by, used.answer.by) == ("pay 0", "ada")
    assert told.index("step.started") + 1 == told.index("approval.used")
    assert told.count("approval.used") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"amount": "5"}, "answer.arguments.amount: must be an integer, not a string."),
        ({}, "answer.arguments.amount: is missing."),
        ({"amount": 4, "to": "ada"}, "answer.arguments.to: is not known here."),
    ],
)
async def test_arguments_with_which_the_call_could_not_go_on_are_refused_and_the_question_stays_open(
    arguments: dict[str, Any], said: str, tmp_path: Path
) -> None:
    till = Till()
    async with opened(till, tmp_path) as host:
        task = await host.submit("function/work")
        waiting = await asked(host, task=task.id)
        with pytest.raises(InvalidInput) as caught:
            await host.approve(waiting.id, arguments=arguments)
        await host.approve(waiting.id, arguments={"amount": 4})
        ended = await host.wait(task.id, 10)

    assert said in str(caught.value)
    assert (ended.result, till.paid) == (["paid 4"], [4])


class Address(BaseModel):
    city: str


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"speed": "slow"}, "speed: must be one of 'normal', 'express', not 'slow'."),
        ({"to": {}}, "to.city: is missing."),
        ({"to": [{"city": "Ulm"}, {"city": 5}]}, "to[1].city: must be a string, not an integer."),
        ({"to": 5}, "to: must be an object or an array, not an integer."),
        ({"note": 5}, "note: must be a string or null, not an integer."),
        ({"pieces": 11}, "pieces: must be at most 10, not 11."),
    ],
)
async def test_arguments_are_looked_at_to_their_depth(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    sent: list[Any] = []

    @tool
    async def pay(
        to: Address | list[Address],
        speed: Literal["normal", "express"],
        pieces: Annotated[int, Field(le=10)],
        note: str | None = None,
    ) -> None:
        sent.append((to, speed, pieces, note))

    async def work(ctx: Any) -> None:
        await ctx.call(pay, fitting)

    fitting = {"to": {"city": "Ulm"}, "speed": "normal", "pieces": 3}
    till = Till()
    till.app = App(functions={"work": work})
    async with opened(till, tmp_path) as host:
        task = await host.submit("function/work")
        waiting = await asked(host, task=task.id)
        with pytest.raises(InvalidInput) as caught:
            await host.approve(waiting.id, arguments={**fitting, **changed})
        await host.approve(waiting.id, arguments={**fitting, "to": [{"city": "Bonn"}], "note": None})
        await host.wait(task.id, 10)

    assert f"answer.arguments.{said}" in str(caught.value)
    assert sent == [([Address(city="Bonn")], "normal", 3, None)]


async def test_a_restart_between_question_and_answer_changes_nothing(tmp_path: Path) -> None:
    till = Till()
    async with opened(till, tmp_path) as host:
        task = await host.submit("function/work")
        id = (await asked(host)).id
    async with opened(till, tmp_path) as host:
        assert (await asked(host)).id == id
        await host.approve(id, arguments={"amount": 3}, by="ada")
        assert (await host.wait(task.id, 10)).result == ["paid 3"]
        [used] = await events(host, task.id, "approval.used")

    assert till.paid == [3]
    assert used["arguments"] == {"amount": 3}
    assert used["usedDigest"] != used["digest"]


async def test_a_no_is_told_in_words_and_journaled(tmp_path: Path) -> None:
    till = Till()
    async with opened(till, tmp_path) as host:
        task = await host.submit("function/work")
        await host.deny((await asked(host)).id, "Not on a Friday.", by="ada")
        [words] = (await host.wait(task.id, 10)).result
        denied = await host.events(EventQuery(error_type="denied"))

    assert words == "'pay' was not carried out: it is not allowed. ada said no. Not on a Friday."
    assert till.paid == []
    assert {event.type for event in denied} == {"policy.denied", "step.failed"}


async def test_always_holds_for_this_run_and_no_other(tmp_path: Path) -> None:
    till = Till(1, 2)
    async with opened(till, tmp_path) as host:
        task = await host.submit("function/work")
        await host.approve((await asked(host)).id, always=True, by="ada")
        assert (await host.wait(task.id, 10)).result == ["paid 1", "paid 2"]
        first, second = await events(host, task.id, "approval.used")
        assert (first.get("standing"), second["standing"], second["question"]) == (None, True, first["question"])
        await host.submit("function/work")
        await host.approve((await asked(host)).id, by="ada")
        await host.deny((await asked(host)).id, by="ada")
    assert till.paid == [1, 2, 1]


@pytest.mark.parametrize(
    ("spoiled", "words"),
    [
        ({"consumed_by": "another step"}, "was used by another step before"),
        ({"digest": "0" * 32}, "not one for exactly these arguments"),
        ({"expires": "2020-01-01T00:00:00+00:00"}, "void before it could be used"),
        ({"state": "withdrawn"}, "not one for exactly these arguments"),
        ({}, None),
    ],
)
async def test_an_approval_is_for_one_step_for_these_arguments_and_in_time(
    spoiled: dict[str, Any], words: str | None, tmp_path: Path
) -> None:
    till = Till()
    async with opened(till, tmp_path) as host:
        task = await host.submit("function/work")
        waiting = await asked(host)
        yes = {"value": {"decision": "approve"}, "by": "ada"}
        record = change(waiting).record
        record = replace(record, data={**record.data, "state": "answered", "answer": {**yes, "at": None}, **spoiled})
        told = NewEvent("question.answered", {"question": waiting.id, "key": waiting.key, "about": "approval", **yes})
        await host.store.commit(Batch([Put(record, expect=waiting.version), Append(task.id, told), Wake(task.id)]))
        [said] = (await host.wait(task.id, 10)).result

    assert till.paid == ([] if words else [5])
    assert words is None or words in said


async def test_nobody_in_time_is_a_no(tmp_path: Path) -> None:
    till = Till()
    policy = PolicySettings(rules=[PolicyRule(decision="ask", tool="pay", expires_s=0.05)])
    async with opened(till, tmp_path, policy) as host:
        task = await host.submit("function/work")
        [words] = (await host.wait(task.id, 10)).result

    assert "Nobody decided in time" in words
    assert till.paid == []


@pytest.mark.parametrize("handler", ["function/strict", "function/parent"])
async def test_who_retries_a_run_that_failed_of_a_no_is_asked_once_more(tmp_path: Path, handler: str) -> None:
    till = Till(strict=True)
    async with opened(till, tmp_path) as host:
        task = await host.submit(handler)
        await host.deny((await asked(host, root=task.id)).id, "Not today.", by="ada")
        assert (await host.wait(task.id, 10)).error["type"] == "denied"
        again = await host.retry(task.id)
        await host.approve((await asked(host, root=again.id)).id, by="ada")
        ended = await host.wait(again.id, 10)

    assert (ended.result, till.paid) == ("paid 5", [5])


async def test_a_no_that_the_run_lived_with_is_kept_by_its_retry(tmp_path: Path) -> None:
    till = Till()
    async with opened(till, tmp_path) as host:
        task = await host.submit("function/stumble")
        await host.deny((await asked(host, root=task.id)).id, by="ada")
        assert (await host.wait(task.id, 10)).state is TaskState.FAILED
        again = await host.wait((await host.retry(task.id)).id, 10)
        open_now = (await host.approvals(Query(where={"state": "open"}))).items

    assert (again.state, list(open_now), till.paid) == (TaskState.FAILED, [], [])


async def test_code_that_asks_for_other_arguments_after_a_restart_gets_no_approval(tmp_path: Path) -> None:
    till = Till(5)
    async with opened(till, tmp_path) as host:
        task = await host.submit("function/work")
        await asked(host)
    till.amounts = (500,)
    async with opened(till, tmp_path) as host:
        await host.approve((await asked(host)).id, by="ada")
        ended = await host.wait(task.id, 10)

    assert ended.state is TaskState.PAUSED
    assert ended.error is not None
    assert ended.error["type"] == "journal_mismatch"
    assert till.paid == []


async def test_a_dispatch_may_be_denied_and_then_there_is_no_child(tmp_path: Path) -> None:
    policy = PolicySettings(rules=[PolicyRule(decision="deny", dispatch="function/w*", agent="parent")])
    async with opened(Till(), tmp_path, policy) as host:
        task = await host.wait((await host.submit("function/parent")).id, 10)
        page = await host.tasks(Query())

    assert task.error is not None
    assert task.error["type"] == "denied"
    assert len(page.items) == 1


def decisions(decide: Callable[[Host, Any], Any]) -> Callable[[Host], Any]:
    async def scenario(host: Host) -> Task:
        task = (await host.submit("function/parent")).id
        while not (found := await host.task(task)).state.terminal:
            for one in (await host.approvals(Query(where={"state": "open", "root": task}))).items:
                with suppress(InvalidTransition):
                    await decide(host, one)
            await asyncio.sleep(1.0)
        return found

    return scenario


@pytest.mark.parametrize("effect", ["once", "idempotent"])
@virtual_time
async def test_killed_anywhere_an_approved_call_happens_once_and_a_denied_one_never(effect: str) -> None:
    tills: list[Till] = []

    def begin() -> App:
        tills.append(Till(5, 7, 9, effect=effect))
        return tills[-1].app

    async def decide(host: Host, one: Any) -> None:
        amount = one.question.call["arguments"]["amount"]
        await (host.deny(one.id, "No.", by="ada") if amount == 7 else host.approve(one.id, by="ada"))

    def resolve(doubt: Any) -> tuple[str, Any]:
        amount = doubt["arguments"]["amount"]
        return ("happened", f"paid {amount}") if amount in tills[-1].paid else ("again", None)

    runs = await crash_everywhere(
        begin,
        decisions(decide),
        effects=lambda: (7 in tills[-1].paid, set(tills[-1].paid), effect == "idempotent" or len(tills[-1].paid) == 2),
        decide=resolve,
        loaded=Loaded(Settings(policy=ASKS)),
    )

    assert len(runs) > 20
    for run in runs:
        for journal in run.journals.values():
            used = [event.data["key"] for event in journal if event.type == "approval.used"]
            assert len(used) == len(set(used))
