"""Acting: what tools give and what goes wrong with them reaches the model, and never ends the run."""

from __future__ import annotations

import asyncio

import pytest

from opspawn.agentkit import tool
from opspawn.contracts.model import ToolCall
from opspawn.errors import Halt, Interrupted
from opspawn.testing.planner_promises import PlannerSuite, call


class ToolPromises(PlannerSuite):
    """What a planner promises about the tools of its agent."""

    @pytest.mark.asyncio
    async def test_the_model_reads_the_instructions_and_the_input(self) -> None:
        """Both are in its first call."""
        ran = await self.run(["Done."], "How do I reset a token?")
        first = "\n".join(message.content for message in ran.model.requests[0].messages)
        assert "Be brief." in first
        assert "How do I reset a token?" in first

    @pytest.mark.asyncio
    async def test_what_a_tool_gives_reaches_the_model(self) -> None:
        """The call is carried out once, and its result is in a later call of the model."""
        ran = await self.run([call(1), "Done."])
        assert ran.searched == ["token"]
        assert "page on token" in ran.told
        assert ran.result is not None
        assert ran.result.output == "Done."

    @pytest.mark.asyncio
    async def test_several_calls_in_one_answer_are_all_carried_out(self) -> None:
        """Their results reach the model in the order of the calls."""
        ran = await self.run([[call(1, "a"), call(2, "b"), call(3, "c")], "Done."])
        assert sorted(ran.searched) == ["a", "b", "c"]
        places = [ran.told.index(f"page on {query}") for query in "abc"]
        assert places == sorted(places)

    @pytest.mark.asyncio
    async def test_a_tool_that_fails_is_told_to_the_model(self) -> None:
        """And the run goes on."""
        ran = await self.run([ToolCall("c1", "lookup", {"number": 7}), "There is none."])
        assert "no ticket 7" in ran.told
        assert ran.result is not None
        assert ran.result.output == "There is none."

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            (ToolCall("c1", "serach", {"query": "x"}), "There is no tool 'serach'."),
            (ToolCall("c1", "search", {"question": "x"}), "query"),
            (ToolCall("c1", "search", {}, malformed='{"query": "to'), "not a JSON object"),
        ],
        ids=["unknown tool", "wrong arguments", "malformed JSON"],
    )
    @pytest.mark.asyncio
    async def test_a_wrong_call_is_answered_in_words(self, wrong: ToolCall, words: str) -> None:
        """So that the model can mend it; nothing is called by guess."""
        ran = await self.run([wrong, call(2), "Done."])
        second = "\n".join(message.content for message in ran.model.requests[1].messages)
        assert words in second
        assert ran.searched == ["token"]
        assert ran.result is not None
        assert ran.result.output == "Done."

    @pytest.mark.asyncio
    async def test_a_run_that_must_halt_is_let_go(self) -> None:
        """`Halt` passes through the planner, whatever it handles; a halted run has not ended."""

        @tool(effect="read")
        async def search(query: str) -> str:
            """Search the handbook."""
            raise Interrupted("The lease is lost.")

        ran = await self.run([call(1), "Done."], tools=[search])
        assert isinstance(ran.error, Halt)
        assert len(ran.model.requests) == 1
        assert ran.reasons == []

    @pytest.mark.asyncio
    async def test_a_run_that_is_cancelled_ends_at_once(self) -> None:
        """The cancellation comes out, and the model is not asked again."""
        began = asyncio.Event()

        @tool(effect="read")
        async def search(query: str) -> str:
            """Search the handbook."""
            began.set()
            await asyncio.Event().wait()
            return ""

        model = self.model([call(1), "Done."])
        run = asyncio.create_task(self.agent(model, [], tools=[search]).run("How?"))
        await began.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert len(model.requests) == 1

    @pytest.mark.asyncio
    async def test_one_planner_serves_many_runs_at_once(self) -> None:
        """It keeps nothing between runs, nor beside them."""
        planner = self.open_planner()
        rans = await asyncio.gather(*(self.run([call(n, f"q{n}"), f"a{n}"], planner=planner) for n in range(10)))
        assert [ran.result.output for ran in rans if ran.result is not None] == [f"a{n}" for n in range(10)]
        assert [ran.searched for ran in rans] == [[f"q{n}"] for n in range(10)]
        for n, ran in enumerate(rans):
            assert not [m for m in range(10) if m != n and f"page on q{m}" in ran.told], "a run read of another"
