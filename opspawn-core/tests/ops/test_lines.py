"""The commit of one line is what its parts say, however it is made."""

from __future__ import annotations

from dataclasses import asdict

from opspawn.contracts.events import NewEvent
from opspawn.contracts.store import Append, Batch
from opspawn.ops.run.lines import line_batch


def test_a_line_is_committed_as_a_batch_of_one_fenced_append() -> None:
    data = {"key": "work#1", "result": [1, 2]}

    made = line_batch("t-1", "step.done", data, 3)

    assert made == Batch([Append("t-1", NewEvent("step.done", data), 3)])
    assert asdict(made) == asdict(Batch([Append("t-1", NewEvent("step.done", data), 3)]))  # no field is left out
