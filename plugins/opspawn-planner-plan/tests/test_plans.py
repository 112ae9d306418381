"""Reading and checking plans, and the references within them."""

from __future__ import annotations

from typing import Any

import pytest

from opspawn import tool
from opspawn.contracts.plan import PlanStep
from opspawn_planner_plan.checking import ALL_DONE, Bounds, read_plan
from opspawn_planner_plan.references import Unresolved, referred, resolved


@tool(effect="read")
async def find(query: str, limit: int = 5) -> list[str]:
    """Find things."""
    return []


@tool(effect="once")
async def order(article: str) -> str:
    """Order an article."""
    return "ordered"


def bounds(*, done: dict[str, PlanStep] | None = None, steps: int = 20, thoughts: int = 5) -> Bounds:
    return Bounds({"find": find, "order": order}, done or {}, steps, thoughts)


def step(id: str, tool: str | None = "find", **more: Any) -> dict[str, Any]:
    return {"id": id, "tool": tool, "inputs": {"query": "x"} if tool == "find" else {}, **more}


def test_effects_and_needs_are_completed_from_the_tools_and_the_references():
    plan, faults = read_plan(
        {
            "steps": [
                step("a"),
                step("b", "order", inputs={"article": "${a[0]}"}),
                step("c", None, description="Compare ${a} with ${b}.", needs=["b"]),
            ]
        },
        bounds(),
    )

    assert faults == []
    assert plan is not None
    assert [(one.id, one.effect, one.needs) for one in plan.steps] == [
        ("a", "read", []),
        ("b", "once", ["a"]),
        ("c", "read", ["b", "a"]),
    ]


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([], "at least 1 item"),
        ("find it", "steps: should be a valid list"),
        ([step("a b")], "steps.0.id"),
        ([step("a"), step("a", inputs={"query": "y"})], "two steps have the id 'a'"),
        ([step("a", "fnd", inputs={})], "step 'a': There is no tool 'fnd'. Did you mean 'find'? Tools: find, order."),
        ([step("a", needs=["z"])], "step 'a' needs 'z', which is no step"),
        (
            [step("a", inputs={"query": "${HOME}"})],
            "needs 'HOME', which is no step; in text that is no reference write $${...}",
        ),
        ([step("a", needs=["a"])], "step 'a' needs itself"),
        ([step("a", needs=["c"]), step("b", needs=["a"]), step("c", needs=["b"])], "a circle: a -> c -> b -> a"),
        (
            [step("a", "order", inputs={"article": "x"}, effect="read")],
            "says the effect 'read', and 'order' has 'once'",
        ),
        ([step("a", inputs={})], "step 'a' lacks the input 'query' of 'find'"),
        ([step("a", inputs={"query": "x", "size": 1})], "'find' has no input 'size'; known: query, limit"),
        ([step("a", inputs={"query": 5})], "step 'a': the input query must be a string, not an integer"),
        ([step("a", inputs={"query": "x", "limit": "9"})], "the input limit must be an integer, not a string"),
        ([step("a", None)], "step 'a' has no tool, and no description"),
        ([step(f"s{n}", inputs={"query": str(n)}) for n in range(21)], "it has 21 steps, and 20 are the most"),
        ([step(f"s{n}", None, description="Well?") for n in range(6)], "6 steps without a tool, and only 5 more"),
        (
            [step("old", inputs={"query": "new"})],
            "step 'old' is done already; leave it out, or give what is new another",
        ),
        ([step("old")], ALL_DONE),
    ],
)
def test_what_cannot_be_carried_out_is_said_in_words(steps: Any, words: str):
    old = PlanStep(id="old", tool="find", inputs={"query": "x"}, effect="read")
    plan, faults = read_plan({"steps": steps}, bounds(done={"old": old}))

    assert plan is None
    assert words in "; ".join(faults)


def test_an_effect_may_be_stronger_than_that_of_the_tool():
    plan, _ = read_plan({"steps": [step("a", effect="once")]}, bounds())

    assert plan is not None
    assert plan.steps[0].effect == "once"


def test_steps_that_are_done_are_left_out_and_may_be_referred_to():
    old = PlanStep(id="old", tool="find", inputs={"query": "x"}, effect="read")
    plan, faults = read_plan(
        {"steps": [step("old"), step("b", inputs={"query": "${old[0]}"})]}, bounds(done={"old": old})
    )

    assert faults == []
    assert plan is not None
    assert [one.id for one in plan.steps] == ["b"]


def test_small_liberties_of_models_are_understood():
    plan, faults = read_plan(
        {"steps": [step("a", needs=None, effect=None), step("b", "think", description="Well?", needs="a")]}, bounds()
    )

    assert faults == []
    assert plan is not None
    assert (plan.steps[1].tool, plan.steps[1].needs) == (None, ["a"])


def test_a_text_that_is_one_reference_keeps_the_type_and_others_become_text():
    results = {"find": {"items": [{"name": "kettle", "n": 3}]}, "two-words": "yes"}

    assert resolved("${find.items[0].n}", results) == 3
    assert resolved("${find.items.0}", results) == {"name": "kettle", "n": 3}
    assert resolved({"a": ["n=${find.items[0].n}, ${two-words}"]}, results) == {"a": ["n=3, yes"]}
    assert list(referred({"a": ["${find.x} ${find}"], "b": "${two-words}", "c": 1})) == ["find", "find", "two-words"]


def test_results_are_data_and_never_read_again():
    assert resolved("<${a}>", {"a": "${b} $${c}", "b": "no"}) == "<${b} $${c}>"


def test_two_dollars_stand_for_one():
    assert resolved("$${HOME} ${ls -la} $5", {}) == "${HOME} ${ls -la} $5"
    assert list(referred("$${HOME}")) == []


@pytest.mark.parametrize("text", ["${a.size}", "${a.items[7]}", "${a.items.name}", "${a.items[0].x}"])
def test_a_reference_that_leads_nowhere_says_what_there_is(text: str):
    with pytest.raises(Unresolved, match=r"leads nowhere: there is no .* 'a' gave: "):
        resolved(text, {"a": {"items": ["one"]}})
