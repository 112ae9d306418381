"""A doubt names no cause that nobody knows, and shows a call as one writes it."""

from __future__ import annotations

from typing import Any

import pytest

from opspawn.cli.views import tell_halt
from opspawn.contracts.store import Task, TaskState
from opspawn.errors import InDoubt


@pytest.mark.parametrize(
    ("arguments", "call"), [([], "pay()"), (["a", 2], 'pay("a", 2)'), ({"invoice": "é"}, 'pay({"invoice": "é"})')]
)
def test_a_doubt_says_that_the_run_was_cut_off_and_shows_the_call(arguments: Any, call: str) -> None:
    doubt = {"key": "pay", "name": "pay", "arguments": arguments}
    error = {"type": "in_doubt", "message": str(InDoubt("pay", "pay", arguments)), "doubts": [doubt]}
    told = tell_halt(Task("t-1", "function/work", "t-1", state=TaskState.IN_DOUBT, error=error))

    assert f"  call   {call}\n" in told
    assert "The run was cut off after 'pay' had begun" in told
    assert "process died" not in error["message"]
