"""What a function of the app is told that is not async."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opspawn import App
from opspawn.host import Host


def plain(ctx: Any) -> str:
    return "done"


async def test_a_function_that_is_not_async_fails_with_what_to_write(tmp_path: Path) -> None:
    app = App(functions={"plain": plain})  # type: ignore[dict-item]
    async with Host.open(app, data=tmp_path) as host:
        ended = await host.wait((await host.submit("function/plain")).id, 20)

    assert ended.error is not None
    assert "is not async. Write `async def`." in ended.error["message"]


async def test_a_plain_function_may_return_what_is_awaited(tmp_path: Path) -> None:
    async def inner(ctx: Any) -> str:
        return "done"

    app = App(functions={"outer": lambda ctx: inner(ctx)})
    async with Host.open(app, data=tmp_path) as host:
        ended = await host.wait((await host.submit("function/outer")).id, 20)

    assert ended.result == "done"
