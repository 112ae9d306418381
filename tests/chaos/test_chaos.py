"""Real workers on one store keep every promise, whatever happens to them: each fault in small. `python3 dev chaos` has
it larger.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .cells import preset
from .run import Cell, run

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(240)]

_CELLS = [*preset("test", 1, 2.0, 3), *preset("test", 1, 2.0, 4, store="redis")]


@pytest.mark.parametrize("cell", _CELLS, ids=[f"{cell.store}-{'+'.join(sorted(cell.faults))}" for cell in _CELLS])
async def test_no_promise_is_broken(cell: Cell, tmp_path: Path) -> None:
    """A failure names the task, the events and the seed."""
    outcome = await run(cell, tmp_path)

    assert not outcome.broken, "\n".join(outcome.lines())
    assert outcome.figures.claims > 0
