"""Answers: the same whether streamed or whole, and complete."""

from __future__ import annotations

import json

import pytest

from opspawn.contracts.model import Message, Reasoning, Usage
from opspawn.testing.model_promises import SEARCH, ModelSuite, needs
from opspawn.testing.model_server import CallTools, Malformed, Say


@pytest.mark.asyncio
class AnswerPromises(ModelSuite):
    """What an answer promises."""

    async def test_an_answer_is_the_models_text(self, streamed: bool) -> None:
        """Every character of it, with spaces and line ends, and a finish reason."""
        provider = await self.speaking([Say("Tokens are reset\nin the  portal. ✓ ")])
        asked = await self.ask(provider, streamed=streamed)
        assert asked.answer.text == "Tokens are reset\nin the  portal. ✓ "
        assert (asked.answer.tool_calls, asked.answer.finish_reason) == ((), "stop")

    async def test_pieces_put_together_are_the_answer(self, streamed: bool) -> None:
        """Nothing streams unless somebody listens; what streams is the text that the answer has, in order."""
        provider = await self.speaking([Say("One two  three.")])
        asked = await self.ask(provider, streamed=streamed)
        assert asked.streamed("text") == (asked.answer.text if streamed else "")
        assert {delta.kind for delta in asked.deltas} <= {"text"}

    async def test_an_empty_answer_is_an_answer(self, streamed: bool) -> None:
        """The planner decides what to do with it."""
        provider = await self.speaking([Say("")])
        answer = (await self.ask(provider, streamed=streamed)).answer
        assert (answer.text, answer.tool_calls, answer.finish_reason) == ("", (), "stop")

    async def test_several_calls_keep_their_order_arguments_and_ids(self, streamed: bool) -> None:
        """Ids differ, arguments are objects, and the finish reason says that tools are wanted."""
        steps = [CallTools([("search", {"query": "tökens"}), ("search", {"query": "b", "limit": 2})], text="Looking.")]
        provider = await self.speaking(steps)
        asked = await self.ask(provider, streamed=streamed, tools=[SEARCH])
        calls = asked.answer.tool_calls
        assert [(call.name, call.arguments) for call in calls] == [
            ("search", {"query": "tökens"}),
            ("search", {"query": "b", "limit": 2}),
        ]
        assert len({call.id for call in calls}) == 2
        assert (asked.answer.text, asked.answer.finish_reason) == ("Looking.", "tool_calls")

    async def test_the_pieces_of_a_call_name_its_tool(self) -> None:
        """And put together they are its arguments."""
        provider = await self.speaking([CallTools([("search", {"query": "a b c"})])])
        asked = await self.ask(provider, streamed=True, tools=[SEARCH])
        assert json.loads(asked.streamed("tool_call")) == {"query": "a b c"}
        assert {delta.tool for delta in asked.deltas if delta.kind == "tool_call"} == {"search"}

    @pytest.mark.parametrize("raw", ['{"query": "tok', "[1, 2]"])
    async def test_arguments_that_are_no_object_are_kept_as_text(self, streamed: bool, raw: str) -> None:
        """So that the model can be told; they are never guessed at."""
        provider = await self.speaking([Malformed("search", raw)])
        (call,) = (await self.ask(provider, streamed=streamed, tools=[SEARCH])).answer.tool_calls
        assert (call.name, call.arguments, call.malformed) == ("search", {}, raw)

    async def test_no_arguments_at_all_mean_none(self, streamed: bool) -> None:
        """A tool without parameters is called with an empty object, or with nothing."""
        provider = await self.speaking([Malformed("search", "")])
        (call,) = (await self.ask(provider, streamed=streamed, tools=[SEARCH])).answer.tool_calls
        assert (call.arguments, call.malformed) == ({}, None)

    async def test_usage_counts_alike_for_every_vendor(self, streamed: bool) -> None:
        """What was read from or written to a cache is part of the input; reasoning is part of the output."""
        usage = Usage(120, 30, cached_tokens=90, reasoning_tokens=20, requests=1, cache_write_tokens=10)
        provider = await self.speaking([Say("Fine.", usage=usage)])
        assert (await self.ask(provider, streamed=streamed)).answer.usage == usage

    async def test_an_answer_without_figures_is_one_request(self, streamed: bool) -> None:
        """Local servers leave them out."""
        provider = await self.speaking([Say("Fine.", omit_usage=True)])
        assert (await self.ask(provider, streamed=streamed)).answer.usage == Usage(requests=1)

    @pytest.mark.parametrize("finish", ["length", "content_filter"])
    async def test_an_answer_that_was_cut_short_says_why(self, streamed: bool, finish: str) -> None:
        """What there is of it is returned."""
        provider = await self.speaking([Say("Once upon a", finish=finish)])  # type: ignore[arg-type]
        answer = (await self.ask(provider, streamed=streamed)).answer
        assert (answer.text, answer.finish_reason) == ("Once upon a", finish)

    @needs("reasoning")
    async def test_thoughts_stream_as_reasoning_and_are_no_part_of_the_text(self, streamed: bool) -> None:
        """They are kept in the answer's parts, before what they led to."""
        provider = await self.speaking([Say("Yes.", reasoning="Let me think.")])
        asked = await self.ask(provider, streamed=streamed)
        assert asked.answer.text == "Yes."
        assert asked.streamed("reasoning") == ("Let me think." if streamed else "")
        first = asked.answer.parts[0]
        assert isinstance(first, Reasoning)
        assert first.text == "Let me think."

    async def test_the_same_answer_is_given_streamed_and_whole(self) -> None:
        """All of it: text, calls, usage, parts."""
        step = CallTools([("search", {"query": "a"})], text="Looking.", reasoning="Hm.")
        provider = await self.speaking([step, step])
        messages = (Message("system", "Be brief."), Message("user", "Go."))
        whole = (await self.ask(provider, *messages, tools=[SEARCH])).answer
        streamed = (await self.ask(provider, *messages, tools=[SEARCH], streamed=True)).answer
        assert (streamed.text, streamed.tool_calls, streamed.usage) == (whole.text, whole.tool_calls, whole.usage)
        assert (streamed.parts, streamed.finish_reason) == (whole.parts, whole.finish_reason)

    async def test_closing_twice_is_harmless(self) -> None:
        """And a provider that was never asked can be closed, too."""
        provider = await self.speaking([Say("Fine.")])
        await provider.aclose()
        await provider.aclose()
