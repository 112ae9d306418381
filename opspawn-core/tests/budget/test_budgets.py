"""Budgets in memory: what they count, and what happens when they are used up."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from opspawn import Agent, Budget, BudgetExceeded, Cheaper, tool
from opspawn.agentkit.budget import Needs, Purse
from opspawn.agentkit.ledger import Amount, Ledger
from opspawn.contracts.model import Message, ModelCapabilities, ModelResponse, ToolCall, Usage
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.policy import Approve, Deny
from opspawn.contracts.run import AgentContext
from opspawn.contracts.run_events import BudgetSpent
from opspawn.errors import ConfigError, ModelError
from opspawn.testing import ScriptedModel, VirtualClock

SMALL = {"max_tokens": 50}


class Loop:
    """Carries out what the model calls until it calls nothing."""

    async def run(self, context: AgentContext) -> PlannerResult:
        messages = [Message("user", str(context.input))]
        while True:
            said = await context.think(messages)
            if not said.tool_calls:
                return PlannerResult(said.text)
            messages += [said.message(), *(result.message() for result in await context.act(said.tool_calls))]


def said(text: str = "", *calls: ToolCall, tokens: int = 100, cost: str | None = None) -> ModelResponse:
    usage = Usage(tokens - 10, 10, requests=1, cost=None if cost is None else Decimal(cost))
    return ModelResponse(text, calls, usage)


@tool(effect="read")
async def look(n: int = 0) -> str:
    return f"saw {n}"


def looks(*numbers: int) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(f"c{n}", "look", {"n": n}) for n in numbers)


def agent(budget: Budget, *script: Any, **options: Any) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel(list(script))
    options = {"planner": Loop(), "tools": [look], "settings": SMALL, **options}
    return Agent("helper", model=model, budget=budget, **options), model


async def test_a_run_ends_before_the_call_that_would_use_too_many_tokens() -> None:
    helper, model = agent(Budget(tokens=250), said("", *looks(1)), said("", *looks(2)), said("Done."))

    with pytest.raises(BudgetExceeded, match=r"200 of 250 tokens are used, and the next step needs about \d+") as told:
        await helper.run("Go.")

    assert len(model.requests) == 2
    assert (told.value.error_type, told.value.limit, told.value.allowed, told.value.spent) == (
        "budget",
        "tokens",
        250,
        200,
    )


async def test_a_run_within_its_budget_notices_nothing() -> None:
    helper, _ = agent(
        Budget(tokens=1000, requests=2, tool_calls=1, depth=0, wall_s=60), said("", *looks(1)), said("Ok.")
    )
    assert (await helper.run("Go.")).output == "Ok."


@pytest.mark.parametrize(
    ("budget", "limit"),
    [(Budget(requests=1), "requests"), (Budget(tool_calls=0), "tool_calls"), (Budget(usd=0.3), "usd")],
)
async def test_requests_tool_calls_and_money_are_limits_of_their_own(budget: Budget, limit: str) -> None:
    script = [said("", *looks(1), cost="0.25"), said("", *looks(2), cost="0.25"), said("Done.", cost="0.25")]
    helper, _ = agent(budget, *script)
    with pytest.raises(BudgetExceeded) as told:
        await helper.run("Go.")
    assert told.value.limit == limit


async def test_a_call_that_does_not_fit_cuts_off_none_of_those_beside_it() -> None:
    seen: list[int] = []

    @tool(name="look")
    async def note(n: int) -> str:
        seen.append(n)
        return "ok"

    helper, _ = agent(Budget(tool_calls=2), said("", *looks(1, 2, 3)), said("Done."), tools=[note])
    with pytest.raises(BudgetExceeded, match="0 of 2 tool calls are used, and the next step needs 3"):
        await helper.run("Go.")
    assert seen == []


async def test_each_try_of_a_call_is_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(until: float, clock: object) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr("opspawn.agentkit.acting.sleep_until", at_once)
    broken = ModelError("Down.", error_type="transient")
    helper, model = agent(Budget(requests=2), broken, broken, said("Done."))
    with pytest.raises(BudgetExceeded, match="2 of 2 requests"):
        await helper.run("Go.")
    assert len(model.requests) == 2


async def test_a_call_that_costs_nobody_knows_what_is_the_last_one_of_a_budget_in_money() -> None:
    helper, model = agent(Budget(usd=5), said("", *looks(1)), said("Done."))
    with pytest.raises(BudgetExceeded, match="costs is not known"):
        await helper.run("Go.")
    assert len(model.requests) == 1


class Priced(ScriptedModel):
    """A model whose vendor has a list of prices."""

    name = "gpt-5"

    def capabilities(self, model: str) -> ModelCapabilities:
        return ModelCapabilities(prices="openai")


async def test_the_price_of_a_call_is_reckoned_before_it_is_made() -> None:
    pytest.importorskip("genai_prices", reason="the list of prices is an extra")
    helper = Agent("helper", model=Priced([said("Hi.")]), planner=Loop(), budget=Budget(usd=0.000001), settings=SMALL)
    with pytest.raises(BudgetExceeded, match=r"0 of 1e-06 US dollars are used, and the next step needs about"):
        await helper.run("Go.")


async def test_a_model_without_a_price_in_the_list_is_not_asked_at_all() -> None:
    model = Priced([said("Hi.")])
    model.name = "nobody-knows"
    helper = Agent("helper", model=model, planner=Loop(), budget=Budget(usd=1), settings=SMALL)
    with pytest.raises(BudgetExceeded, match=r"nobody-knows.*prices"):
        await helper.run("Go.")
    assert model.requests == []


async def test_time_that_is_up_cuts_off_the_call_that_is_on_its_way() -> None:
    @tool(name="look")
    async def sleepy(n: int) -> str:
        await asyncio.sleep(100)
        return "late"

    helper, _ = agent(Budget(wall_s=0.3), said("", *looks(1)), tools=[sleepy])
    with pytest.raises(BudgetExceeded, match=r"of 0\.3 s have passed\. The call that was on its way was cut off"):
        await helper.run("Go.")


# -- on exceed ---------------------------------------------------------------------------------------------------------


async def test_a_human_may_allow_more() -> None:
    asked: list[Any] = []
    events: list[Any] = []

    def decide(question: Any) -> Any:
        asked.append(question)
        return Approve({"tokens": 150}, by="ada")

    budget = Budget(tokens=150, on_exceed="ask", approvers=["ada"])
    helper, _ = agent(budget, said("", *looks(1)), said("Done."))
    assert (await helper.run("Go.", on_approval=decide, on_event=events.append)).output == "Done."

    [question] = asked
    assert (question.kind, question.to, question.call["arguments"]) == ("approval", "ada", {"tokens": 150})
    assert "100 of 150 tokens" in question.text
    [raised] = [event.data for event in events if isinstance(event, BudgetSpent)]
    assert (raised["limits"], raised["by"], raised["purse"]) == ({"tokens": 150}, "ada", "agent")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Deny("Enough.", by="ada"), "ada said no. Enough."),
        (Approve({"money": 3}), "names no limit"),
        (None, "nobody to ask"),
    ],
)
async def test_a_no_and_an_approval_that_allows_nothing_end_the_run(answer: Any, words: str) -> None:
    helper, model = agent(Budget(requests=1, on_exceed="ask"), said("", *looks(1)), said("Done."))
    decide = None if answer is None else lambda question: answer
    with pytest.raises(BudgetExceeded, match=words):
        await helper.run("Go.", on_approval=decide)
    assert len(model.requests) == 1


async def test_always_lifts_the_limit_for_the_run() -> None:
    asked: list[Any] = []
    script = [said("", *looks(n)) for n in range(4)]
    helper, _ = agent(Budget(requests=1, on_exceed="ask"), *script, said("Done."))
    await helper.run("Go.", on_approval=lambda question: asked.append(question) or Approve(always=True))
    assert len(asked) == 1


async def test_a_cheaper_model_goes_on_and_then_the_run_ends() -> None:
    cheap = ScriptedModel([said("", *looks(2)), said("", *looks(3)), said("Never.")])
    events: list[Any] = []
    helper, model = agent(Budget(requests=2, on_exceed=Cheaper(cheap)), said("", *looks(0)), said("", *looks(1)))
    with pytest.raises(BudgetExceeded, match="4 of 4 requests"):
        await helper.run("Go.", on_event=events.append)
    assert (len(model.requests), len(cheap.requests)) == (2, 2)
    [raised] = [event.data for event in events if isinstance(event, BudgetSpent)]
    assert (raised["model"], raised["limits"]) == ("ScriptedModel", {"requests": 2})


# -- trees -------------------------------------------------------------------------------------------------------------


def family(budget: Budget | None, inner: list[Any], outer: list[Any], **options: Any) -> tuple[Agent, ScriptedModel]:
    below = ScriptedModel(inner)
    finder = Agent("finder", model=below, planner=Loop(), tools=[look], settings=SMALL, **options)
    model = ScriptedModel(outer)
    return Agent("chief", model=model, planner=Loop(), tools=[finder], budget=budget, settings=SMALL), below


def asks(*names: str) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(name, "finder", {"input": name}) for name in names)


async def test_a_child_spends_no_more_than_it_was_lent_and_its_parent_hears_why() -> None:
    heard: list[str] = []

    def outer(request: Any) -> ModelResponse:
        heard.append(request.messages[-1].content)
        return said("", *asks("a")) if len(heard) == 1 else said("Enough.")

    finder = ScriptedModel([said("", *looks(n)) for n in range(9)])
    inner = Agent("finder", model=finder, planner=Loop(), tools=[look], settings=SMALL)
    chief = Agent(
        "chief", model=ScriptedModel(outer), planner=Loop(), tools=[inner], budget=Budget(requests=7), settings=SMALL
    )

    assert (await chief.run("Go.")).output == "Enough."
    assert len(finder.requests) == 3  # half of the six that were left
    assert "3 of 3 requests are used" in heard[1]


async def test_what_a_child_does_not_use_comes_back() -> None:
    chief, below = family(
        Budget(requests=8), [said("Found.")] * 3, [*(said("", *asks(n)) for n in "abc"), said("Done.")]
    )
    assert (await chief.run("Go.")).output == "Done."
    assert len(below.requests) == 3


async def test_children_beside_one_another_get_equal_parts_and_one_stays_with_the_parent() -> None:
    purse = Purse(Ledger(), 0.0, VirtualClock())
    purse.add("agent", Budget(tokens=900, usd=0.9, depth=3, wall_s=50))
    loans = []
    for among in (2, 1):
        loans.append(purse.loan(among))
        purse.ledger.lending(str(among), Amount(tokens=int(loans[-1].tokens or 0)))
    assert [loan.tokens for loan in loans] == [300, 300]
    assert (loans[0].usd, loans[0].depth) == (Decimal("0.3"), 2)
    assert purse.left()["tokens"] == 300


async def test_a_child_that_is_asked_for_with_a_budget_gets_no_more_than_is_left() -> None:
    purse = Purse(Ledger(), 0.0, VirtualClock())
    purse.add("agent", Budget(tokens=900))
    assert purse.loan(1, Budget(tokens=5000, requests=3)) == Budget(tokens=900, requests=3)
    assert purse.loan(1, Budget(tokens=50)).tokens == 50


def test_a_child_that_never_started_gives_everything_back() -> None:
    ledger = Ledger()
    ledger.read("child.spawned", {"key": "a", "child": "t-1", "lent": {"tokens": 500, "usd": "0.5"}})
    assert ledger.total == Amount(tokens=500, usd=Decimal("0.5"))
    ledger.read("child.ended", {"child": "t-1", "state": "cancelled"})
    assert ledger.total == Amount()


async def test_depth_forbids_children() -> None:
    chief, below = family(Budget(depth=0), [said("Found.")], [said("", *asks("a")), said("Done.")])
    with pytest.raises(BudgetExceeded, match="more than 0 levels below"):
        await chief.run("Go.")
    assert below.requests == []


async def test_a_repair_of_an_answer_counts() -> None:
    helper, model = agent(Budget(requests=1), said("no number"), said("3"), output=int, output_mode="prompted")
    with pytest.raises(BudgetExceeded):
        await helper.run("How many?")
    assert len(model.requests) == 1


# -- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"tokens": -1}, "tokens=-1"),
        ({"requests": 1.5}, "requests=1.5"),
        ({"usd": "5"}, "usd='5'"),
        ({"wall_s": float("nan")}, "wall_s=nan"),
        ({"on_exceed": "cheaper"}, "on_exceed='cheaper'"),
        ({"approvers": "ada"}, "a list is meant"),
    ],
)
def test_a_budget_that_cannot_be_is_one_line(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Budget(**values)


def test_a_budget_survives_json() -> None:
    budget = Budget(tokens=5, usd=0.25, tool_calls=2, wall_s=1.5, depth=0, on_exceed="ask", approvers=("ada",))
    assert Budget.from_json(budget.to_json()) == budget


def test_a_limit_counts_only_for_what_needs_it() -> None:
    purse = Purse(Ledger(), 0.0, VirtualClock())
    purse.add("agent", Budget(tokens=10))
    purse.ledger.enter("think", Amount(tokens=50))
    assert purse.over(Needs(Amount(tool_calls=1))) is None
    assert purse.over(Needs(Amount(tokens=1))) is not None
