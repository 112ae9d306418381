"""A program that uses the library hears of warnings, and of nothing else unless it asks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import asyncio
from loguru import logger
from opspawn import App
from opspawn.opscore import OpsCore
{ask}

async def breaks(ctx):
    logger.debug("its own")
    raise ValueError("no")

async def main():
    async with OpsCore.open(App(functions={{"breaks": breaks}})) as ops:
        task = await ops.enqueue_task({{"function": "breaks"}})
        print((await ops.wait_for(task.id, 60)).state)

asyncio.run(main())
"""


def told(folder: Path, ask: str = "") -> str:
    """What the script writes to standard error, where its one task fails."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(ask=ask)], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout == "failed\n"
    return done.stderr


def test_a_program_that_asked_for_nothing_prints_its_own_lines_alone(tmp_path: Path) -> None:
    (line,) = told(tmp_path).splitlines()

    assert line.endswith("its own")


@pytest.mark.parametrize("ask", ['logger.enable("opspawn")', 'from opspawn.logs import configure; configure("debug")'])
def test_a_program_that_asks_hears_why_a_run_failed(tmp_path: Path, ask: str) -> None:
    said = told(tmp_path, ask)

    assert "The run raised" in said
    assert "its own" in said
