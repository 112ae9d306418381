"""What the commands on memory share: the options that select items, and the memory that is configured."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import click

from opspawn.agentkit.memories import Memories
from opspawn.cli.assemble import run
from opspawn.cli.output import configuration
from opspawn.config import Loaded
from opspawn.config.durations import span_s
from opspawn.contracts.filters import Filter, filter_from_json
from opspawn.contracts.memory import Memory, Selection
from opspawn.errors import ConfigError, InvalidInput
from opspawn.opening import load_plugins
from opspawn.plugins import Plugins

F = TypeVar("F", bound=Callable[..., Any])


def namespace_option(command: F) -> F:
    """Add `--namespace`, which reaches the command as a tuple."""
    return click.option(
        "--namespace", "-n", multiple=True, help='A part of the namespace, e.g. -n agent:helper -n "user:ada".'
    )(command)


def selecting(command: F) -> F:
    """Add the options that select items, which reach the command as `**selected`."""
    options = (
        click.option("--exact", is_flag=True, help="Only this namespace, and none that begin with it."),
        click.option("--subject", help="Only items about this subject."),
        click.option("--session", help="Only items that were kept in this session."),
        click.option("--older-than", metavar="SPAN", help="Only items that were kept longer ago than this, e.g. 30d."),
        click.option("--filter", "filter_text", metavar="JSON", help='E.g. \'{"field": "kind", "eq": "fact"}\'.'),
    )
    for option in reversed(options):
        command = option(command)
    return namespace_option(command)


def selection(
    namespace: tuple[str, ...],
    exact: bool,
    subject: str | None,
    session: str | None,
    older_than: str | None,
    filter_text: str | None,
    ids: tuple[str, ...] = (),
) -> Selection:
    """What the options of `selecting` select. Raises: InvalidInput."""
    for option, given in (("--subject", subject), ("--session", session)):
        if given == "":
            raise InvalidInput(
                f"{option} is empty; was a variable of the shell not set?",
                remedy=f'Name one, or leave it out. Those without one: --filter \'{{"field": "@{option[2:]}", '
                '"exists": false}\'.',
            )
    seconds = None if older_than is None else span_s(older_than)
    if older_than is not None and seconds is None:
        raise InvalidInput(f"--older-than {older_than!r} is no span of time.", remedy="Write 90s, 10m, 2h or 30d.")
    return Selection(namespace, not exact, ids, subject, session, _filter(filter_text), seconds)


def with_memory(
    context: click.Context, act: Callable[[Memory], Awaitable[int | None]], *, new: bool = False, embeds: bool = False
) -> None:
    """Open the configured memory, do something with it, and exit.

    `new` says that it may be made if there is none yet; `embeds` that the configured embedder is needed.
    """
    loaded = configuration()
    plugins = load_plugins(loaded)

    async def main() -> int | None:
        memories = memories_of(loaded, plugins, embeds=embeds)
        if not new and (missing := memories.nothing_yet()) is not None:  # reading makes no memory where there is none
            remedy = "Run an agent that has memory, add something with 'opspawn memory add', or go to its folder."
            raise ConfigError(missing, remedy=remedy)
        try:
            return await act(await memories.get())
        finally:
            await memories.aclose()

    context.exit(run(main()))


def memories_of(loaded: Loaded, plugins: Plugins, *, embeds: bool = True) -> Memories:
    """The memory that is configured, not yet open; `embeds` says whether with its embedder."""
    settings = loaded.settings
    return Memories(
        plugins,
        loaded.sections,
        memory=settings.memory,
        embedder=settings.embedder if embeds else None,
        data=settings.data,
        network_models=settings.network_models,
    )


def _filter(text: str | None) -> Filter | None:
    return None if text is None else filter_from_json(json_of(text, "--filter"))


def json_of(text: str | None, option: str) -> Mapping[str, Any]:
    """The object that an option holds; an empty one if it was not given. Raises: InvalidInput."""
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{option} is no JSON: {error}.") from error
    if not isinstance(found, dict):
        raise InvalidInput(f"{option} is {text[:60]!r}; an object is meant.")
    return found
