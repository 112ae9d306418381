"""Surviving: killed before and after each write in turn, a run ends as if nothing had happened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opspawn.app import App
from opspawn.contracts.events import Event
from opspawn.contracts.model import ModelRequest
from opspawn.contracts.store import Task
from opspawn.host import Host
from opspawn.testing.crashes import CrashRun, crash_everywhere
from opspawn.testing.planner_promises import Move, PlannerSuite, call
from opspawn.testing.scripted import ScriptedModel
from opspawn.testing.virtual import virtual_time


class CrashPromises(PlannerSuite):
    """What a planner promises when its worker dies."""

    @virtual_time
    async def test_a_crash_at_any_write_changes_nothing(self) -> None:
        """The run ends alike wherever it is killed, with the same results of tools and the same reason."""
        runs, _ = await self._crash([call(1, "a"), [call(2, "b"), call(3, "c")], "Done."])
        for run in runs:
            (task,) = run.tasks
            assert (task.result, _reason(run.journals[task.id])) == ("Done.", "answered")

    @virtual_time
    async def test_no_recorded_model_call_is_made_again(self) -> None:
        """After a crash at most the one call that was in flight is made again, and no call that was recorded."""
        runs, asked = await self._crash([call(1, "a"), call(2, "b"), "Done."])
        clean = asked[0]
        for run, conversations in zip(runs, asked, strict=True):
            again = len(conversations) - len(clean)
            assert again <= 1, f"the model was asked {again} times more, killed at write {run.write}"
            assert set(conversations) == set(clean)

    @virtual_time
    async def test_a_run_that_ends_without_an_answer_ends_alike_too(self) -> None:
        """With its reason in the journal, once."""
        runs, _ = await self._crash([call(1)], max_steps=3)
        reasons = {_reason(run.journals[task.id]) for run in runs for task in run.tasks}
        assert len(reasons) == 1
        assert reasons <= {"loop", "step_limit"}

    async def _crash(self, moves: Sequence[Move], **changes: Any) -> tuple[list[CrashRun], list[list[str]]]:
        """All runs, and for each the conversations that the model was asked with."""
        asked: list[list[str]] = []
        searched: list[list[str]] = []

        def begin() -> App:
            mine: list[str] = []
            asked.append(mine)
            searched.append([])

            def by_turn(request: ModelRequest) -> Any:
                mine.append(repr([(message.role, message.content) for message in request.messages]))
                turn = sum(message.role == "assistant" for message in request.messages)
                return self.say(moves[min(turn, len(moves) - 1)])

            return App(agents=[self.agent(ScriptedModel(by_turn), searched[-1], **changes)])

        runs = await crash_everywhere(begin, _submit, effects=lambda: sorted(set(searched[-1])))
        return runs, asked


async def _submit(host: Host) -> Task:
    task = await host.submit("agent/helper", "How?")
    return await host.wait(task.id, 1e6)


def _reason(events: Sequence[Event]) -> str:
    (told,) = [event for event in events if event.type == "agent.answered"]
    return str(told.data["reason"])
