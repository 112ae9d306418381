"""A store in memory with agents, sessions and workflows around it, and a clock that a test sets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
from loguru import logger

from opspawn.contracts.store import Store
from opspawn.ops.agents.agents import Agents
from opspawn.stores.sqlite import open_sqlite


@dataclass
class HandSet:
    """A clock that stands still until a test moves it."""

    now: float = 1_800_000_000.0
    virtual: bool = False

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What fails here on purpose would fill the report."""
    logger.disable("opspawn")
    yield
    logger.enable("opspawn")


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    """A real store, in memory."""
    opened = await open_sqlite(":memory:")
    yield opened
    await opened.aclose()


@pytest.fixture
def clock() -> HandSet:
    return HandSet()


@pytest.fixture
def agents(store: Store, clock: HandSet) -> Agents:
    """The registry of a process whose app has the agent "helper"."""
    return Agents(store, own=("helper",), clock=clock)
