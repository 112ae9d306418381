"""A program that embeds Opspawn keeps its own log sinks; ours must not hand them what they should not print."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from loguru import logger

from opspawn import App, details
from opspawn.host import Host


async def failing(ctx: Any) -> None:
    password = "open sesame"  # a diagnosing sink would print this value
    raise RuntimeError(f"nobody home ({len(password)})")


async def test_a_diagnosing_sink_sees_no_values_of_variables(tmp_path: Path) -> None:
    logger.enable(details.__name__)
    printed = io.StringIO()
    sink = logger.add(printed, level="DEBUG", backtrace=True, diagnose=True)
    try:
        async with Host.open(App(functions={"failing": failing}), data=tmp_path) as host:
            task = await host.submit("function/failing")
            ended = await host.wait(task.id, 10)
    finally:
        logger.remove(sink)

    assert ended.state == "failed"
    assert "The run raised" in printed.getvalue()
    assert "open sesame" not in printed.getvalue()
