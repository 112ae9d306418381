"""Policies: what they decide, and that what they forbid does not happen."""

from __future__ import annotations

import asyncio
from datetime import date
from importlib.metadata import EntryPoint
from typing import Any, TypeVar

import pytest

from opspawn import Agent, Policy, Rule, tool
from opspawn.agentkit import Kit
from opspawn.agentkit.deciding import Policies, as_decider
from opspawn.agentkit.matching import found, matches
from opspawn.config.settings import PolicyRule, PolicySettings
from opspawn.contracts.model import Message, ToolCall
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.plugins import PolicyPlugin
from opspawn.contracts.policy import Approve, Considered, Deny, Verdict
from opspawn.contracts.run import AgentContext
from opspawn.contracts.run_events import ActDenied, ApprovalDecided
from opspawn.errors import ConfigError, Denied
from opspawn.plugins import Plugins
from opspawn.plugins.status import Found
from opspawn.testing import ScriptedModel


class Loop:
    """Carries out what the model calls until it calls nothing."""

    async def run(self, context: AgentContext) -> PlannerResult:
        messages = [Message("user", str(context.input))]
        while True:
            said = await context.think(messages)
            if not said.tool_calls:
                return PlannerResult(said.text)
            messages += [said.message(), *(result.message() for result in await context.act(said.tool_calls))]


T = TypeVar("T")


class Till:
    """An agent with a till, and what was taken out of it."""

    def __init__(self, *calls: ToolCall, **options: Any) -> None:
        self.paid: list[int] = []
        self.events: list[Any] = []

        @tool
        async def pay(amount: int, to: str = "ada") -> str:
            self.paid.append(amount)
            return f"paid {amount}"

        self.model = ScriptedModel([calls, "Done."] if calls else [ToolCall("1", "pay", {"amount": 5}), "Done."])
        self.agent = Agent("clerk", model=self.model, planner=Loop(), tools=[pay], **options)

    async def run(self, **options: Any) -> str:
        result = await self.agent.run("Pay.", on_event=self.events.append, **options)
        return str(result.output)

    @property
    def told(self) -> str:
        return self.model.requests[-1].messages[-1].content

    def happened(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]


async def test_a_denied_call_does_not_happen_and_the_model_is_told_why() -> None:
    till = Till(policies=[Policy([Rule("deny", tool="pay", reason="The till is closed.")])])

    assert await till.run() == "Done."
    assert till.paid == []
    assert till.told == "'pay' was not carried out: it is not allowed. The till is closed."
    [denied] = till.happened(ActDenied)
    assert (denied.name, denied.policy, denied.reason) == ("pay", "policy", "The till is closed.")


@pytest.mark.parametrize("fault", ["raises", "nonsense", "late"])
async def test_a_policy_that_fails_forbids_and_is_named(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opspawn.agentkit.deciding.PATIENCE_S", 0.01)

    async def shaky(considered: Considered) -> Any:
        if considered.act != "tool":
            return None
        if fault == "raises":
            raise KeyError("till")
        if fault == "late":
            await asyncio.sleep(5)
        return "yes"

    till = Till(policies=[shaky])
    await till.run()

    assert till.paid == []
    assert "'shaky'" in till.told


async def test_the_strictest_answer_counts_whatever_the_order() -> None:
    def says(decision: Any, **more: Any) -> Any:
        return as_decider(lambda considered: Verdict(decision, f"{decision}!", **more))

    call = Considered("tool", "pay", {}, "clerk")
    for first, second, wins in (("allow", "ask", "ask"), ("ask", "allow", "ask"), ("deny", "ask", "deny")):
        assert (await Policies([says(first), says(second)]).decide(call)).verdict.decision == wins
    both = await Policies([says("ask", approvers=["ada"], expires_s=9), says("ask", approvers=["bob"])]).decide(call)
    assert (list(both.verdict.approvers), both.verdict.expires_s) == (["ada", "bob"], 9)


async def test_a_policy_cannot_change_the_call() -> None:
    def greedy(considered: Considered) -> None:
        if considered.act == "tool":
            considered.arguments["amount"] = 1_000

    till = Till(policies=[greedy])
    await till.run()

    assert till.paid == [5]


def test_the_first_rule_that_fits_decides_and_then_the_effect() -> None:
    policy = Policy(
        [
            Rule("allow", tool="pay", arguments={"amount": {"max": 10}}),
            Rule("deny", tool="pay", arguments={"to": "*@evil.example"}),
            Rule("ask", agent="intern*"),
        ],
        defaults={"once": "ask"},
    )

    def decide(name: str, arguments: Any, agent: str = "clerk", effect: Any = "read") -> str | None:
        verdict = policy.decide(Considered("tool", name, arguments, agent, effect))
        return verdict.decision if verdict else None

    assert decide("pay", {"amount": 10, "to": "x@evil.example"}) == "allow"
    assert decide("pay", {"amount": 11, "to": "x@evil.example"}) == "deny"
    assert decide("pay", {"amount": 11}) is None
    assert decide("pay", {"amount": 11}, "intern-2") == "ask"
    assert decide("send", {}, effect="once") == "ask"
    assert policy.decide(Considered("dispatch", "agent/pay", {}, "clerk")) is None


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("reports/*", "reports/2026/may", True),
        ("reports/*", "reports/../secrets", False),
        ("/etc/*", "/tmp/../etc/passwd", True),
        ("https://a.example/*", "https://a.example/x/../y", True),
        ("yes", True, False),
        ("true", True, True),
        (5, 5.0, True),
        (1, True, False),
        ({"regex": "[a-z]+"}, "abc1", False),
        ({"min": 1, "below": 3}, 2, True),
        ({"min": 1, "below": 3}, 3, False),
        ({"above": 0}, "9", False),
        ({"not": ["a", "b"]}, "c", True),
        (["a", {"max": 2}], 2, True),
    ],
)
def test_patterns(pattern: Any, value: Any, fits: bool) -> None:
    assert matches(pattern, value) is fits


def test_a_path_leads_into_objects_and_all_items_of_lists() -> None:
    arguments = {"to": [{"mail": "a"}, {"mail": "b"}, {}]}

    assert found(arguments, "to.mail") == ["a", "b"]
    assert found(arguments, "to.mail.more") == found(arguments, "cc") == []


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"decision": "perhaps"}, "'perhaps' is no decision"),
        ({"decision": "ask", "tool": "a", "model": "b"}, "more than one of tool, model and dispatch"),
        ({"decision": "ask", "model": "b", "effect": "once"}, "an effect, which only tools have"),
        ({"decision": "ask", "arguments": {"a": {"regex": "("}}}, r"arguments\.a\.regex cannot be read"),
        ({"decision": "ask", "arguments": {"a": {"over": 9}}}, r"arguments\.a is .* no pattern"),
        ({"decision": "ask", "arguments": {"a": {"min": "9"}}}, r"arguments\.a\.min is '9'; a number"),
        ({"decision": "ask", "approvers": "ada"}, "a list is meant"),
        ({"decision": "ask", "expires_s": 0}, "seconds above 0"),
    ],
)
def test_a_rule_that_means_nothing_is_refused_in_words(rule: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Rule(**rule)


async def test_without_anybody_to_ask_the_answer_is_no() -> None:
    till = Till(policies=[Policy(defaults={"once": "ask"})])
    await till.run()

    assert till.paid == []
    assert "there is nobody to ask" in till.told


async def test_an_approver_sees_the_exact_call_and_may_say_yes() -> None:
    asked: list[Any] = []
    till = Till(policies=[Policy([Rule("ask", tool="pay", reason="Money leaves.", approvers=["ada"])])])

    await till.run(on_approval=lambda question: asked.append(question) or True)

    assert till.paid == [5]
    assert asked[0].call["arguments"] == {"amount": 5}
    assert (asked[0].kind, asked[0].to, asked[0].call["reason"]) == ("approval", "ada", "Money leaves.")
    assert [decided.decision for decided in till.happened(ApprovalDecided)] == ["approve"]


@pytest.mark.parametrize("said", [False, None, "yes", 1, Deny("Too much.", by="ada")])
async def test_anything_but_a_clear_yes_is_a_no(said: Any) -> None:
    till = Till(policies=[Policy(defaults={"once": "ask"})])
    await till.run(on_approval=lambda question: said)

    assert till.paid == []
    assert ("ada said no. Too much." in till.told) is isinstance(said, Deny)


async def test_an_approver_may_change_the_arguments_and_the_model_is_told() -> None:
    till = Till(policies=[Policy(defaults={"once": "ask"})])
    await till.run(on_approval=lambda question: Approve({"amount": 3}))

    assert till.paid == [3]
    assert till.told == '[An approver changed the arguments to {"amount": 3}.]\npaid 3'


async def test_changed_arguments_that_the_tool_does_not_take_end_the_run_and_are_not_told_to_the_model() -> None:
    """They are the fault of whoever wrote the approver."""
    till = Till(policies=[Policy(defaults={"once": "ask"})])

    with pytest.raises(ConfigError, match=r"answer\.arguments\.amount: must be an integer, not a string"):
        await till.run(on_approval=lambda question: Approve({"amount": "3"}))
    assert till.paid == []
    assert till.happened(ApprovalDecided) == []


async def test_changed_arguments_are_looked_at_by_the_tool_itself_before_its_call() -> None:
    """A schema cannot say all that a type refuses."""
    moved: list[date] = []

    @tool
    async def move(day: date) -> None:
        moved.append(day)

    model = ScriptedModel([ToolCall("1", "move", {"day": "2026-12-01"}), "Done."])
    agent = Agent("mover", model=model, tools=[move], policies=[Policy(defaults={"once": "ask"})])

    with pytest.raises(ConfigError, match=r"What on_approval gave for 'move' does not fit: day: .*'soon'\. Mend"):
        await agent.run("Move it.", on_approval=lambda question: Approve({"day": "soon"}))
    assert moved == []


async def test_changed_arguments_are_under_the_policies_too() -> None:
    rules = [Rule("deny", tool="pay", arguments={"amount": {"above": 100}}), Rule("ask", tool="pay")]
    till = Till(policies=[Policy(rules)])
    await till.run(on_approval=lambda question: Approve({"amount": 1000}))

    assert till.paid == []


async def test_always_holds_for_the_tool_and_the_run() -> None:
    asked: list[Any] = []

    def once(question: Any) -> Approve:
        asked.append(question.call["name"])
        return Approve(always=True)

    for _ in range(2):
        till = Till(policies=[Policy(defaults={"once": "ask"})])
        till.model._script = [  # type: ignore[assignment]
            ToolCall("1", "pay", {"amount": 1}),
            ToolCall("2", "pay", {"amount": 2}),
            "Done.",
        ]
        await till.run(on_approval=once)
        assert till.paid == [1, 2]
    assert asked == ["pay", "pay"]


async def test_a_denied_model_call_is_not_made() -> None:
    till = Till(policies=[Policy([Rule("deny", model="*", reason="Not today.")])])

    with pytest.raises(Denied, match="Not today"):
        await till.run()
    assert till.model.requests == []


async def test_policies_of_plugins_and_of_the_configuration_hold_for_agents() -> None:
    record = PolicyPlugin("closed", lambda section: Policy([Rule("deny", tool="pay")], name="closed"))
    entry = EntryPoint("given", "given", "opspawn")
    plugins = Plugins([Found(entry, "given", "1", records=[("policy", record)])])
    for settings in (PolicySettings(use=["closed"]), PolicySettings(rules=[PolicyRule(decision="deny")])):
        till = Till()
        await till.run(kit=Kit(plugins, policy=settings))
        assert till.paid == []
    till = Till(policies=["closed"])
    await till.run(kit=Kit(plugins))
    assert till.paid == []
    with pytest.raises(ConfigError, match="'open-sesame'"):
        Kit(plugins, policy=PolicySettings(use=["open-sesame"]))


def test_a_wrong_rule_of_the_configuration_is_named() -> None:
    rules = [PolicyRule(decision="ask"), PolicyRule(decision="ask", arguments={"a": {}})]

    with pytest.raises(ConfigError, match=r"Rule 2 of \[\[policy.rules\]\]: .*arguments\.a"):
        Kit(Plugins.load(quiet=True), policy=PolicySettings(rules=rules))
