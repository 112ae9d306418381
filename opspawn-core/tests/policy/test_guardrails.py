"""Guardrails: what they hold back does not pass, neither now nor in a replay nor in the next run of the session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from opspawn import Agent, App, Budget, BudgetExceeded, Redact, Seen, guardrail, tool
from opspawn.config import Loaded
from opspawn.config.settings import Settings, WorkerSettings
from opspawn.contracts.model import ToolCall
from opspawn.contracts.policy import Approve, Verdict
from opspawn.contracts.run_events import GuardrailDecided
from opspawn.contracts.store import Query, Task
from opspawn.errors import ConfigError, Denied
from opspawn.host import Host
from opspawn.testing import LoopPlanner, ScriptedModel, crash_everywhere, virtual_time

SECRET = "4111-1111"


@tool(effect="read")
async def look(n: int = 0) -> str:
    """Look."""
    return f"card {SECRET} of {n}"


@guardrail(on=("input", "output", "result"))
def no_cards(seen: Seen) -> Redact | None:
    text = str(seen.value)
    return Redact(text.replace(SECRET, "****"), "A card.") if SECRET in text else None


@guardrail
def polite(seen: Seen) -> Verdict | None:
    return Verdict("deny", "Ask nicely.") if "!" in str(seen.value) else None


def agent(script: Any, *guardrails: Any, **options: Any) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel(script)
    made = Agent("helper", model=model, planner=LoopPlanner(), tools=[look], guardrails=guardrails, **options)
    return made, model


async def test_an_input_that_is_held_back_reaches_no_model() -> None:
    events: list[Any] = []
    helper, model = agent(["Hi."], polite)
    with pytest.raises(Denied, match=r"'polite' held back the input of the run\. Ask nicely\."):
        await helper.run("Now!", on_event=events.append)
    assert model.requests == []
    [decided] = [event for event in events if isinstance(event, GuardrailDecided)]
    assert (decided.on, decided.guardrail, decided.decision) == ("input", "polite", "held_back")
    assert decided.reason == "Ask nicely."
    assert (await helper.run("Please.")).output == "Hi."


async def test_input_results_and_answers_are_redacted_before_anybody_sees_them() -> None:
    helper, model = agent([ToolCall("1", "look", {}), f"It is {SECRET}."], no_cards)
    result = await helper.run(f"Whose is {SECRET}?")

    assert result.output == "It is ****."
    said = [message.content for message in model.requests[1].messages]
    assert said == ["Whose is ****?", "", "card **** of 0"]
    assert SECRET not in str(result.messages)


async def test_a_result_that_is_held_back_is_told_in_words() -> None:
    @guardrail(on="result", tools="lo*")
    async def nothing(seen: Seen) -> Verdict:
        assert (seen.tool, seen.arguments) == ("look", {"n": 3})
        return Verdict("deny", "Too private.")

    helper, model = agent([ToolCall("1", "look", {"n": 3}), "Sorry."], nothing)
    assert (await helper.run("Look.")).output == "Sorry."
    told = model.requests[1].messages[-1]
    assert told.content == "The guardrail 'nothing' held back the result of 'look'. Too private."
    assert told.is_error


async def test_a_guardrail_looks_only_at_the_results_it_names() -> None:
    @guardrail(on="result", tools="web_*")
    def nothing(seen: Seen) -> Verdict:
        return Verdict("deny")

    helper, model = agent([ToolCall("1", "look", {}), "Ok."], nothing)
    await helper.run("Look.")
    assert model.requests[1].messages[-1].content == f"card {SECRET} of 0"


async def test_a_long_result_is_looked_at_whole_and_cannot_be_read_on_past_the_guardrail() -> None:
    @tool(effect="read", max_result=256)
    async def long() -> str:
        """Tell."""
        return "x" * 400 + SECRET

    model = ScriptedModel(
        [ToolCall("1", "long", {}), ToolCall("2", "read_result", {"handle": "act/0", "offset": 256}), "Ok."]
    )
    helper = Agent("helper", model=model, planner=LoopPlanner(), tools=[long], guardrails=[no_cards])
    await helper.run("Tell.")
    assert "x****" in model.requests[2].messages[-1].content
    assert SECRET not in str(model.requests[2].messages)


@pytest.mark.parametrize("fault", ["raises", "nonsense", "late"])
async def test_a_guardrail_that_fails_holds_back_and_is_named(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opspawn.agentkit.guardrails.PATIENCE_S", 0.01)

    async def shaky(seen: Seen) -> Any:
        if fault == "raises":
            raise KeyError("x")
        if fault == "late":
            await asyncio.sleep(5)
        return "fine"

    helper, model = agent(["Hi."], shaky)
    with pytest.raises(Denied, match="'shaky'"):
        await helper.run("Hello.")
    assert model.requests == []


async def test_a_guardrail_beside_the_first_model_call_holds_its_answer_back() -> None:
    said = asyncio.Event()

    @guardrail(parallel=True)
    async def slow(seen: Seen) -> Verdict | None:
        await said.wait()
        return Verdict("deny", "No.") if "!" in seen.value else None

    def answer(request: Any) -> str:
        said.set()
        return "Hi."

    helper, model = agent(answer, slow)
    with pytest.raises(Denied, match="No"):
        await helper.run("Now!")
    assert len(model.requests) == 1
    assert (await helper.run("Please.")).output == "Hi."


async def test_a_guardrail_that_asks_a_model_is_paid_from_the_budget() -> None:
    @guardrail
    async def judge(seen: Seen, ctx: Any) -> Verdict | None:
        return None if await ctx.think(f"Is this harmless? {seen.value}", output=bool) else Verdict("deny", "Harm.")

    judged = ToolCall("1", "final_answer", {"answer": True})
    helper, model = agent([judged, "Hi."], judge, budget=Budget(requests=2))
    result = await helper.run("Hello.")
    assert (result.output, result.usage.requests) == ("Hi.", 2)
    helper, model = agent([judged, "Hi."], judge, budget=Budget(requests=1))
    with pytest.raises(BudgetExceeded):
        await helper.run("Hello.")
    assert len(model.requests) == 1


async def test_a_human_may_let_it_pass_or_change_it() -> None:
    @guardrail(on="output")
    def review(seen: Seen) -> Verdict:
        return Verdict("ask", "Look at it.", approvers=["ada"])

    asked: list[Any] = []
    helper, _ = agent(["Draft."] * 3, review)

    def decide(question: Any) -> Any:
        asked.append(question)
        return [Approve(by="ada"), Approve({"value": "Better."}, by="ada"), False][len(asked) - 1]

    assert (await helper.run("Write.", on_approval=decide)).output == "Draft."
    assert (await helper.run("Write.", on_approval=decide)).output == "Better."
    with pytest.raises(Denied, match="said no"):
        await helper.run("Write.", on_approval=decide)
    assert (asked[0].to, asked[0].call["arguments"]) == ("ada", {"value": "Draft."})


async def test_a_typed_answer_that_a_guardrail_changes_still_has_its_type() -> None:
    @guardrail(on="output")
    def less(seen: Seen) -> Redact:
        return Redact(seen.value.replace("100", "1"))

    helper, _ = agent([ToolCall("1", "final_answer", {"answer": 100})], less, output=int)
    assert (await helper.run("How many?")).output == 1


async def test_what_a_planner_answers_by_itself_is_looked_at_too() -> None:
    class Own:
        async def run(self, context: Any) -> Any:
            from opspawn.contracts.planner import PlannerResult

            return PlannerResult(f"Planned {SECRET}.")

    helper = Agent("helper", model=ScriptedModel([]), planner=Own(), guardrails=[no_cards])
    assert (await helper.run("Go.")).output == "Planned ****."


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: guardrail(on="thought")(print), "looks at 'thought'"),
        (lambda: guardrail(on="output", parallel=True)(print), "nothing beside a model call"),
        (lambda: agent([], "polite"), "no guardrail"),
    ],
)
def test_a_guardrail_that_cannot_be_is_one_line(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


# -- durable -----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def opened(helper: Agent, folder: Path) -> AsyncIterator[Host]:
    settings = Settings(worker=WorkerSettings(poll_s=0.05), data=str(folder))
    async with Host.open(App(agents=[helper]), loaded=Loaded(settings, folder=folder)) as host:
        yield host


async def test_the_next_run_of_a_session_sees_what_was_let_pass(tmp_path: Path) -> None:
    helper, model = agent([ToolCall("1", "look", {}), "Ok.", "Again."], no_cards)
    async with opened(helper, tmp_path) as host:
        for text in (f"Whose is {SECRET}?", "And now?"):
            task = await host.submit("agent/helper", text, session="talk")
            assert (await host.wait(task.id, 10)).error is None
    assert [message.content for message in model.requests[2].messages] == [
        "Whose is ****?", "", "card **** of 0", "Ok.", "And now?"
    ]  # fmt: skip


async def test_a_denial_is_journaled_and_a_question_waits_without_a_slot(tmp_path: Path) -> None:
    @guardrail
    def ask(seen: Seen) -> Verdict:
        return Verdict("ask")

    helper, _ = agent(["Hi."], ask)
    async with opened(helper, tmp_path) as host:
        task = await host.submit("agent/helper", "Hello.")
        while not (found := (await host.approvals(Query(where={"state": "open"}))).items):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await host.deny(found[0].id, "Not today.", by="ada")
        ended = await host.wait(task.id, 10)
        told = [event.data for event in await host.journal(task.id) if event.type == "policy.denied"]
    assert ended.error is not None
    assert ended.error["type"] == "denied"
    assert (told[0]["policy"], told[0]["reason"]) == ("ask", "ada said no. Not today.")


@virtual_time
async def test_killed_anywhere_a_run_with_guardrails_ends_the_same() -> None:
    looked: list[str] = []

    @guardrail(on=("input", "output", "result"))
    async def judge(seen: Seen, ctx: Any) -> Any:
        looked.append(f"{seen.on} {seen.value}")
        said = await ctx.think(f"Judge {seen.on} {seen.value}")
        return Redact(str(seen.value).replace(SECRET, "****")) if said == "bad" else None

    def say(request: Any) -> Any:
        last = request.messages[-1]
        if last.content.startswith("Judge"):
            return "bad" if SECRET in last.content else "good"
        return f"Saw {SECRET}." if last.role == "tool" else ToolCall("1", "look", {})

    async def scenario(host: Host) -> Task:
        return await host.wait((await host.submit("agent/helper", f"About {SECRET}.")).id, 1e6)

    runs = await crash_everywhere(lambda: App(agents=[agent(say, judge)[0]]), scenario)
    assert runs[0].answer[1] == "Saw ****."
    assert len(runs) > 15
    for run in runs:
        keys = [e.data["key"] for journal in run.journals.values() for e in journal if e.type == "step.done"]
        assert len(keys) == len(set(keys))
