"""Ending: every run ends, for a reason that is told, and what is no answer never counts as one."""

from __future__ import annotations

import pytest

from opspawn.contracts.model import ModelResponse
from opspawn.contracts.planner import REASONS
from opspawn.errors import ModelError
from opspawn.testing.planner_promises import REFUSAL, PlannerSuite, call


class EndPromises(PlannerSuite):
    """What a planner promises about the end of a run."""

    @pytest.mark.asyncio
    async def test_an_answer_is_the_output(self) -> None:
        """With the reason "answered", told once."""
        ran = await self.run(["In the settings."])
        assert ran.result is not None
        assert (ran.result.output, ran.result.reason, ran.reason) == ("In the settings.", "answered", "answered")

    @pytest.mark.asyncio
    async def test_a_model_that_only_acts_is_stopped_at_its_limit(self) -> None:
        """After `max_steps` model calls and at most one for a last word; as "step_limit"."""
        ran = await self.run(lambda turn: call(turn, f"q{turn}"), max_steps=5)
        assert ran.reason == "step_limit"
        assert len(ran.model.requests) in (5, 6)

    @pytest.mark.asyncio
    async def test_a_model_that_does_the_same_for_ever_is_stopped(self) -> None:
        """As "loop" if the planner notices, else at its limit."""
        ran = await self.run([call(1)], max_steps=20)
        assert ran.reason in ("loop", "step_limit")
        assert len(ran.model.requests) <= 21

    @pytest.mark.asyncio
    async def test_nothing_is_no_answer(self) -> None:
        """Who answers with nothing is asked again, or the run ends as "empty"; never with an empty answer."""
        ran = await self.run([ModelResponse("")])
        assert ran.reason in ("empty", "step_limit")
        assert ran.error is not None

    @pytest.mark.asyncio
    async def test_a_refusal_is_no_answer(self) -> None:
        """It ends as "refused"."""
        ran = await self.run([REFUSAL])
        assert ran.reason == "refused"

    @pytest.mark.asyncio
    async def test_a_call_that_failed_for_good_ends_the_run(self) -> None:
        """The model's error comes out, and the reason is that of its type."""
        ran = await self.run([ModelError("No key.", error_type="denied")])
        assert isinstance(ran.error, ModelError)
        assert ran.reason == "denied"

    @pytest.mark.asyncio
    async def test_a_conversation_that_is_too_long_ends_or_is_shortened(self) -> None:
        """A planner may go on with less; one that cannot ends as "context_overflow"."""
        ran = await self.run([call(1), ModelError("Too long.", error_type="context_overflow")])
        assert ran.reason == "context_overflow"
        assert len(ran.model.requests) <= 4

    @pytest.mark.asyncio
    async def test_the_reason_of_an_end_is_a_word_of_the_list(self) -> None:
        """The same in the result and in what is told."""
        ran = await self.run([call(1), "Done."])
        assert ran.reason in REASONS
        assert ran.result is not None
        assert ran.result.reason == ran.reason
