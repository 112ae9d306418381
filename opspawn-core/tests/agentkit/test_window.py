"""How much of a conversation a model is shown: what is left out, what stays, and that both follow from the record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from opspawn import Agent, Window, tool
from opspawn.agentkit.tokens import tokens_in
from opspawn.agentkit.window import cuts, transcript, turns
from opspawn.contracts.model import Message, ModelCapabilities, ModelRequest, ModelResponse, ToolCall, Usage
from opspawn.contracts.run_events import Compacted, ModelAnswered, TextDelta
from opspawn.errors import ConfigError, ModelError
from opspawn.testing import ScriptedModel

Make = Callable[..., Agent[Any, Any]]
TOO_LONG = ModelError("Too long.", error_type="context_overflow")


@tool(effect="read")
def read(page: int) -> str:
    """Read a page."""
    return f"page {page}: " + f"word{page} " * 60


def call(page: int) -> ToolCall:
    return ToolCall(f"c{page}", "read", {"page": page})


def is_notes(request: ModelRequest) -> bool:
    return request.messages[0].content.startswith("You write notes")


def reader(pages: int, notes: Any = "NOTES") -> ScriptedModel:
    """Reads so many pages and answers; writes notes when it is asked to."""
    turn = iter([*(call(page) for page in range(pages)), *(["Done."] * 3)])
    return ScriptedModel(lambda request: notes if is_notes(request) else next(turn))


def check_pairs(messages: list[Message]) -> None:
    """Every call has its result right after it, and every result its call right before it."""
    open_calls: list[str] = []
    for message in messages:
        if message.role == "tool":
            assert message.tool_call_id in open_calls
            open_calls.remove(str(message.tool_call_id))
        else:
            assert not open_calls
            open_calls = [one.id for one in message.tool_calls]
    assert not open_calls


async def test_a_conversation_near_the_limit_is_compacted_into_notes(agent: Make) -> None:
    model = reader(12)
    one = agent("a", model, tools=[read], instructions="Be brief.", window=Window(600, keep_last=2))

    result = await one.run("What do the pages say?")

    assert result.output == "Done."
    assert any(is_notes(request) for request in model.requests)
    for request in model.requests:
        assert sum(tokens_in(message.content) for message in request.messages) <= 600
        check_pairs(list(request.messages))
    last = [message.content for message in model.requests[-1].messages]
    assert last[:2] == ["Be brief.", "What do the pages say?"]
    assert "<notes>\nNOTES\n</notes>" in last[2]


async def test_the_result_holds_the_whole_conversation(agent: Make) -> None:
    result = await agent("a", reader(12), tools=[read], window=Window(600)).run("Go.")

    assert [message.content[:6] for message in result.messages if message.role == "tool"][:2] == ["page 0", "page 1"]
    assert len(result.messages) == 1 + 2 * 12 + 1


async def test_notes_are_written_anew_from_notes_and_what_came_since(agent: Make) -> None:
    model = reader(20)
    await agent("a", model, tools=[read], window=Window(600, keep_last=1)).run("Go.")

    asked = [request.messages[-1].content for request in model.requests if is_notes(request)]
    assert len(asked) > 1
    assert "page 0" in asked[0]
    assert "NOTES OF WHAT WAS BEFORE: NOTES" in asked[1]
    assert "page 0" not in asked[1]


async def test_nothing_happens_below_the_limit_or_without_one(agent: Make) -> None:
    for window in (Window(100_000), None):
        model = reader(5)
        await agent("a", model, tools=[read], window=window).run("Go.")
        assert not any(is_notes(request) for request in model.requests)
        assert len(model.requests[-1].messages) == 1 + 2 * 5


async def test_without_notes_the_begin_is_just_left_out_and_the_model_is_told(agent: Make) -> None:
    model = reader(12)
    await agent("a", model, tools=[read], window=Window(600, summarise=False)).run("Go.")

    assert not any(is_notes(request) for request in model.requests)
    assert "left out" in model.requests[-1].messages[1].content


async def test_pinned_messages_and_the_input_stay(agent: Make) -> None:
    history = [
        Message("user", "My number is 7.", pinned=True),
        Message("assistant", "Noted."),
        *(Message("user", f"{n} " * 200) for n in range(6)),
    ]
    model = reader(8)
    await agent("a", model, tools=[read], window=Window(800, keep_last=1)).run("Go.", history=history)

    shown = [message.content for message in model.requests[-1].messages]
    assert shown[:2] == ["My number is 7.", "Go."]
    assert "Noted." not in shown


async def test_a_call_of_many_tools_keeps_all_its_results(agent: Make) -> None:
    turn = iter([ModelResponse(tool_calls=(call(n), call(n + 50))) for n in range(8)])
    model = ScriptedModel(lambda request: "NOTES" if is_notes(request) else next(turn, "Done."))
    await agent("a", model, tools=[read], window=Window(700, keep_last=1)).run("Go.")

    for request in model.requests:
        check_pairs(list(request.messages))


async def test_a_last_result_that_is_too_long_is_cut_to_what_fits(agent: Make) -> None:
    @tool(effect="read")
    def read_all() -> str:
        """Read all."""
        return "x" * 20_000

    turn = iter([ToolCall("1", "read_all"), "Done."])
    model = ScriptedModel(lambda request: "NOTES" if is_notes(request) else next(turn))
    await agent("a", model, tools=[read_all], window=Window(500)).run("Go.")

    assert len(model.requests[-1].messages[-1].content) < 2_100


async def test_what_calls_really_used_counts_where_the_provider_tells_it(agent: Make) -> None:
    """A request that the estimate takes for small, and the vendor does not: tools, or another script."""
    turn = iter([*(ModelResponse(tool_calls=(call(n),), usage=Usage(900, 1, requests=1)) for n in range(5))])
    model = ScriptedModel(lambda request: "NOTES" if is_notes(request) else next(turn, "Done."))
    await agent("a", model, tools=[read], window=Window(1000, keep_last=1)).run("Go.")

    assert any(is_notes(request) for request in model.requests)


async def test_the_limit_is_what_the_model_is_known_to_read(agent: Make) -> None:
    class Small(ScriptedModel):
        def capabilities(self, model: str) -> ModelCapabilities:
            return ModelCapabilities(context_tokens=600)

    turn = iter(call(n) for n in range(12))
    model = Small(lambda request: "NOTES" if is_notes(request) else next(turn, "Done."))
    await agent("a", model, tools=[read]).run("Go.")

    assert any(is_notes(request) for request in model.requests)


async def test_a_refusal_as_too_long_leads_to_one_compaction_and_one_more_try(agent: Make) -> None:
    turn = iter([*(call(n) for n in range(6)), TOO_LONG, "Done."])
    model = ScriptedModel(lambda request: "NOTES" if is_notes(request) else next(turn))
    told: list[Any] = []
    result = await agent("a", model, tools=[read]).run("Go.", on_event=told.append)

    assert result.output == "Done."
    assert [one.how for one in told if isinstance(one, Compacted)] == ["notes"]


async def test_long_results_are_shortened_first_which_costs_no_call(agent: Make) -> None:
    @tool(effect="read")
    def read_all() -> str:
        """Read all."""
        return "x" * 3_000

    model = ScriptedModel([ToolCall("1", "read_all"), ToolCall("2", "read_all"), TOO_LONG, "Done."])
    await agent("a", model, tools=[read_all]).run("Go.")

    told = [len(message.content) for message in model.requests[-1].messages if message.role == "tool"]
    assert told[0] < 500
    assert told[1] == 3_000


async def test_what_cannot_be_made_shorter_fails_as_it_did(agent: Make) -> None:
    model = ScriptedModel([TOO_LONG])
    with pytest.raises(ModelError, match="Too long"):
        await agent("a", model).run("Go.")
    assert len(model.requests) == 1


async def test_a_second_refusal_comes_out(agent: Make) -> None:
    turn = iter([*(call(n) for n in range(6)), TOO_LONG, TOO_LONG])
    model = ScriptedModel(lambda request: "NOTES" if is_notes(request) else next(turn))
    with pytest.raises(ModelError, match="Too long"):
        await agent("a", model, tools=[read]).run("Go.")


async def test_notes_that_cannot_be_written_are_done_without(agent: Make) -> None:
    model = reader(12, ModelError("No.", error_type="permanent"))
    result = await agent("a", model, tools=[read], window=Window(600)).run("Go.")

    assert result.output == "Done."
    assert any("left out" in message.content for message in model.requests[-1].messages)


async def test_notes_count_as_usage_and_are_not_streamed(agent: Make) -> None:
    turn = iter([*(ModelResponse(tool_calls=(call(n),), usage=Usage(10, 1, requests=1)) for n in range(12))])
    notes = ModelResponse("NOTES", usage=Usage(1000, 100, requests=1))
    model = ScriptedModel(lambda request: notes if is_notes(request) else next(turn, "Done."))
    told: list[Any] = []
    result = await agent("a", model, tools=[read], window=Window(600)).run("Go.", on_event=told.append)

    assert result.usage.input_tokens >= 1000
    assert not any("NOTES" in one.text for one in told if isinstance(one, TextDelta))
    assert {one.purpose for one in told if isinstance(one, ModelAnswered) and one.text == "NOTES"} == {"compact"}


async def test_the_agents_own_words_say_what_notes_must_hold(agent: Make) -> None:
    model = reader(12)
    window = Window(600, instructions="Keep every order number.")
    await agent("a", model, tools=[read], window=window).run("Go.")

    asked = next(request for request in model.requests if is_notes(request))
    assert asked.messages[0].content.endswith("Keep every order number.")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"max_tokens": 10}, "max_tokens=10; a whole number from 256"),
        ({"max_tokens": True}, "max_tokens=True"),
        ({"compact_at": 2}, "compact_at=2; a number from 0.1 to 1"),
        ({"compact_at": float("nan")}, "compact_at=nan"),
        ({"keep_last": 0}, "keep_last=0"),
        ({"summarise": 1}, "summarise=1"),
        ({"instructions": None}, "instructions=None"),
    ],
)
def test_a_wrong_window_is_refused_in_words(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=f"Window has {words}"):
        Window(**wrong)


def test_what_is_no_window_is_refused_with_the_agents_name() -> None:
    with pytest.raises(ConfigError, match=r"The agent 'a' has window=5; Window\(\.\.\.\) is meant"):
        Agent("a", window=5)  # type: ignore[arg-type]


_MESSAGES = some.lists(
    some.sampled_from(
        [
            (Message("user", "u"),),
            (Message("assistant", "a"),),
            (Message("assistant", "", (call(1),)), Message("tool", "r", (), "c1")),
            (
                Message("assistant", "", (call(1), call(2))),
                Message("tool", "r", (), "c1"),
                Message("tool", "r", (), "c2"),
            ),
        ]
    )
).map(lambda groups: [message for group in groups for message in group])


_CALM = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])


@_CALM
@given(_MESSAGES, some.integers(1, 5))
def test_no_cut_parts_a_call_from_its_results(said: list[Message], keep_last: int) -> None:
    for place in cuts(said, keep_last):
        check_pairs(said[:place])
        check_pairs(said[place:])
        assert 1 <= len(turns(said[place:])) <= keep_last


@_CALM
@given(some.lists(some.text(max_size=500), max_size=20), some.integers(50, 500))
def test_a_transcript_keeps_to_its_room(texts: list[str], room: int) -> None:
    assert tokens_in(transcript([Message("user", text) for text in texts], room)) <= max(room * 2, 300)


def test_other_scripts_take_more_tokens_than_english() -> None:
    assert tokens_in("a" * 400) == 100
    assert tokens_in("語" * 100) == 100
    assert tokens_in("") == 0
    assert tokens_in("\ud800") == 1
