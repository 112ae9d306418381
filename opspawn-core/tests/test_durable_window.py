"""Compaction in durable runs: the notes are recorded, so that a crash neither pays for them twice nor changes them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from opspawn import Agent, App, Window, tool
from opspawn.contracts.model import ModelRequest, ToolCall
from opspawn.errors import ModelError
from opspawn.testing import LoopPlanner, ScriptedModel, crash_everywhere, virtual_time


@tool(effect="read")
def read(page: int) -> str:
    """Read a page."""
    return f"page {page}: " + f"word{page} " * 60


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@virtual_time
@pytest.mark.parametrize("window", [Window(600, keep_last=1), None], ids=["before the limit", "after a refusal"])
async def test_a_run_with_compactions_ends_alike_wherever_it_crashes_and_no_notes_are_paid_twice(window: Any) -> None:
    asked: Counter[str] = Counter()
    again: list[int] = []

    def begin() -> App:
        again.append(sum(asked.values()) - len(asked))
        asked.clear()

        def say(request: ModelRequest) -> Any:
            shown = request.messages
            text = "\n".join(message.content for message in shown)
            asked[text] += 1
            if text.startswith("You write notes"):
                return f"NOTES {crc32(text.encode())}."
            if window is None and len(shown) > 9:
                return ModelError("Too long.", error_type="context_overflow")
            last = max((int(str(one.tool_call_id)[1:]) for one in shown if one.role == "tool"), default=-1)
            return ToolCall(f"c{last + 1}", "read", {"page": last + 1}) if last < 8 else f"Done: {text}"

        model = ScriptedModel(say)
        return App(agents=[Agent("reader", model=model, planner=LoopPlanner(), tools=[read], window=window)])

    async def scenario(host: Any) -> Any:
        task = await host.submit("agent/reader", "Go.")
        return (await host.wait(task.id, 1e6)).result

    runs = await crash_everywhere(begin, scenario)

    assert "NOTES" in runs[0].answer
    assert len(runs) > 20
    assert max(again[2:]) == 1  # what was in flight
    for run in runs:
        events = [event for journal in run.journals.values() for event in journal]
        keys = [event.data["key"] for event in events if event.type in ("step.done", "step.failed", "agent.compacted")]
        assert len(keys) == len(set(keys))
        assert sum(event.type == "agent.compacted" for event in events) >= 1
