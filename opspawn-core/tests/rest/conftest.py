"""What the tests of REST share: a running host with an open port, in this process, and a client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from opspawn import Agent, App, tool
from opspawn.config import load_settings
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.run import AgentContext, RunContext
from opspawn.host import Host
from opspawn.testing import ScriptedModel

PATIENCE_S = 30.0


class Echo:
    """Answers with its input."""

    async def run(self, context: AgentContext) -> PlannerResult:
        return PlannerResult(context.input)


class Talk:
    """Asks the model once, so that its answer streams."""

    async def run(self, context: AgentContext) -> PlannerResult:
        return PlannerResult((await context.think([])).text)


async def nap(context: RunContext) -> str:
    """Waits much longer than any test."""
    await context.sleep(3600)
    return "rested"


async def listen(context: RunContext) -> list[Any]:
    """Waits for two signals."""
    return [await context.wait("go"), await context.wait("go")]


async def asks(context: RunContext) -> Any:
    """Asks somebody."""
    return await context.ask("Ship it?", choices=["yes", "no"], to="ada")


@tool(effect="once")
async def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


async def pays(context: RunContext) -> Any:
    """Pays, for which the configuration wants an approval."""
    return await context.call(pay, {"amount": 5})


def make_app() -> App:
    """An app that needs neither a model nor a file."""
    agents = [
        Agent("echo", model=ScriptedModel([]), planner=Echo(), description="Says it again."),
        Agent("talk", model=ScriptedModel(lambda request: "one two three"), planner=Talk()),
    ]
    return App(agents=agents, functions={"nap": nap, "listen": listen, "asks": asks, "pays": pays})


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    """A host that serves REST on a free port, with its database in a folder of the test."""
    overrides = {"plugins.rest.port": 0, "worker.poll_s": 0.05, "policy.once": "ask"}
    loaded = load_settings(cwd=tmp_path, overrides=overrides)
    async with Host.open(make_app(), loaded=loaded, transports=True) as running:
        yield running


@pytest.fixture
async def client(host: Host) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of that host."""
    (transport,) = host.transports
    async with httpx2.AsyncClient(
        base_url=transport.address, timeout=PATIENCE_S, trust_env=False, verify=False
    ) as opened:
        yield opened


@pytest.fixture
def plain_task() -> dict[str, Any]:
    """The body of a run that is waited for."""
    return {"input": "hi", "waitS": PATIENCE_S}
