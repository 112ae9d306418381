"""The contract suite of planners notices planners that do not keep it."""

from __future__ import annotations

import asyncio
import inspect
import random
from typing import Any

import pytest

from opspawn.agentkit.content import opening
from opspawn.contracts.model import Message
from opspawn.contracts.planner import PlannerResult
from opspawn.testing import PlannerContract


class Loose:
    """A loop that keeps the promises, but for what `flaw` says."""

    def __init__(self, flaw: str) -> None:
        self._flaw = flaw
        self._messages: list[Message] = []

    async def run(self, context: Any) -> PlannerResult:
        messages = self._messages if self._flaw == "remembers" else []
        messages += opening(context)
        if self._flaw == "rolls dice":
            messages.append(Message("user", str(random.random())))
        while True:
            response = await context.think(messages)
            if not response.tool_calls:
                return PlannerResult(response.text)
            messages.append(response.message())
            try:
                results = await context.act(response.tool_calls)
            except BaseException:
                if self._flaw != "swallows":
                    raise
                return PlannerResult("Never mind.")
            messages += [result.message() for result in results if self._flaw != "hears nothing" or result.is_error]


@pytest.mark.parametrize(
    ("flaw", "promise"),
    [
        ("remembers", "test_one_planner_serves_many_runs_at_once"),
        ("swallows", "test_a_run_that_must_halt_is_let_go"),
        ("swallows", "test_a_run_that_is_cancelled_ends_at_once"),
        ("hears nothing", "test_what_a_tool_gives_reaches_the_model"),
        ("believes anything", "test_nothing_is_no_answer"),
        ("believes anything", "test_a_refusal_is_no_answer"),
        ("rolls dice", "test_a_crash_at_any_write_changes_nothing"),
    ],
)
def test_a_planner_that_breaks_a_promise_fails_its_test(flaw: str, promise: str) -> None:
    class Suite(PlannerContract):
        def open_planner(self) -> Any:
            return Loose(flaw)

    def keeps() -> None:
        test = getattr(Suite(), promise)
        if inspect.iscoroutinefunction(test):
            asyncio.run(test())
        else:
            test()

    with pytest.raises((AssertionError, pytest.fail.Exception)):
        keeps()
