"""A host over a folder, and the question that it puts to people."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from opspawn import App
from opspawn.config import load_settings
from opspawn.contracts.question import AskedQuestion
from opspawn.contracts.store import Query
from opspawn.host import Host


@asynccontextmanager
async def running(folder: Path, app: App | None = None) -> AsyncIterator[Host]:
    """A host with the configuration in a folder, of an app without anything by default."""
    async with Host.open(app or App(), loaded=load_settings(environ={}, cwd=folder)) as host:
        yield host


async def asked_by(host: Host, *, approvals: bool = False) -> AskedQuestion:
    """The first open question, or approval, as soon as there is one."""
    find = host.approvals if approvals else host.questions
    for _ in range(4000):
        if found := (await find(Query(where={"state": "open"}, limit=5))).items:
            return found[0]
        await asyncio.sleep(0.01)
    raise AssertionError("nobody asked")
