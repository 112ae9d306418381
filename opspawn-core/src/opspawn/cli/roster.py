"""What the commands about agents and sessions share: the configured store, without an app and without a worker."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import click

from opspawn.cli.assemble import existing_store, run
from opspawn.cli.output import configuration
from opspawn.errors import InvalidInput
from opspawn.host import load_plugins, open_waker
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
    loaded = configuration()

    async def main() -> int:
        async with existing_store(loaded) as store:
            waker = await open_waker(load_plugins(loaded), loaded)
            engine = Engine(store, waker, _accept_nothing)
            agents = Agents(store)
            try:
                await act(Desk(agents, Sessions(store, agents, engine.cancel), engine))
            finally:
                await engine.aclose()
                await waker.aclose()
        return 0

    context.exit(run(main()))


def json_object(option: str, text: str) -> dict[str, Any]:
    """The JSON object that an option holds. Raises: InvalidInput."""
    value = json_value(option, text)
    if not isinstance(value, dict):
        raise InvalidInput(f"{option} must be a JSON object.", remedy=f"""Write it like {option} '{{"a": 1}}'.""")
    return value


def json_value(option: str, text: str) -> Any:
    """The JSON that an option holds. Raises: InvalidInput."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{option} is not JSON: {error}.", remedy="""A text needs quotes of its own: '"done"'."""
        ) from error


def _accept_nothing(handler: str, input: Any) -> Any:
    raise InvalidInput("This command accepts no new tasks.", remedy="Use 'opspawn run'.")
