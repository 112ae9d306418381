"""What walls cannot do for root. `conftest.py` says where this is collected."""

from __future__ import annotations

from opspawn.agentkit.sandbox.promises import WALLS, gaps
from opspawn.agentkit.sandbox.report import probe


def test_root_that_stays_root_cannot_limit_processes_and_says_so() -> None:
    held = probe([wall for wall in WALLS if wall != "user"])

    assert held.counted is False
    assert "without limit" in "".join(gaps(held, network=False))
