"""What the commands about agents and sessions share: the configured store, without an app and without a worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import click

from opspawn.cli.deciding import with_store
from opspawn.contracts.store import Store
from opspawn.ops.agents.agents import Agents
from opspawn.ops.engine.engine import Engine
from opspawn.ops.sessions.sessions import Sessions


@dataclass(frozen=True)
class Desk:
    """Agents and sessions of a store."""

    agents: Agents
    sessions: Sessions
    engine: Engine


def at_desk(context: click.Context, act: Callable[[Desk], Awaitable[None]]) -> None:
    """Run `act` with the configured store open, and leave with its exit code."""

    async def with_desk(store: Store, engine: Engine) -> None:
        agents = Agents(store)
        await act(Desk(agents, Sessions(store, agents, engine.cancel), engine))

    with_store(context, with_desk)
