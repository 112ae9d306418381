"""Why an agent's run ended is recorded, in the commit of its task's end."""

from __future__ import annotations

from typing import Any

import pytest

from opspawn import Agent, App
from opspawn.contracts.planner import REASONS, PlannerResult, reason_of
from opspawn.contracts.store import Task
from opspawn.errors import ModelError, StepLimit
from opspawn.host import Host
from opspawn.testing import ScriptedModel, crash_everywhere, virtual_time


class Ends:
    """A planner that thinks once and ends as it was told."""

    def __init__(self, end: PlannerResult | Exception) -> None:
        self._end = end

    async def run(self, context: Any) -> PlannerResult:
        await context.think([])
        if isinstance(self._end, Exception):
            raise self._end
        return self._end


async def submit(host: Host) -> Task:
    task = await host.submit("agent/helper", "How?")
    return await host.wait(task.id, 1e6)


def limit(reason: str) -> StepLimit:
    error = StepLimit("No.")
    error.reason = reason
    return error


@virtual_time
@pytest.mark.parametrize(
    ("end", "reason", "error"),
    [
        (PlannerResult("In the settings."), "answered", False),
        (PlannerResult("So far.", "step_limit"), "step_limit", False),
        (limit("loop"), "loop", True),
        (ModelError("No key.", error_type="denied"), "denied", True),
    ],
)
async def test_the_reason_of_an_end_is_recorded_with_it_and_only_once(end, reason, error):
    runs = await crash_everywhere(
        lambda: App(agents=[Agent("helper", model=ScriptedModel(lambda _: "x"), planner=Ends(end))]), submit
    )

    for run in runs:
        (task,) = run.tasks
        events = run.journals[task.id]
        (told,) = [event for event in events if event.type == "agent.answered"]
        assert (told.data["reason"], told.data["error"]) == (reason, error)
        assert told.data["usage"] == {"requests": 1}
        assert events[-1].type == ("task.failed" if error else "task.succeeded")


def test_there_is_no_other_reason_than_those_that_are_documented():
    with pytest.raises(ValueError, match="'bored' is no reason of a planner's end; there are answered,"):
        PlannerResult("x", "bored")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (limit("step_limit"), "step_limit"),
        (ModelError("x", error_type="context_overflow"), "context_overflow"),
        (ModelError("x", error_type="content_filter"), "refused"),
        (ValueError("x"), "failed"),
    ],
)
def test_the_reason_of_an_error_is_its_own_or_that_of_its_type(error, reason):
    assert reason_of(error) == reason
    assert reason in REASONS
