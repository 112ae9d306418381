"""`opspawn memory export | import | reembed | compact`: the whole of a memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TextIO

import click

from opspawn.agentkit.memory_json import item_from_json, item_to_json
from opspawn.agentkit.memory_renewal import renew
from opspawn.cli.output import configuration, json_option, print_json, say
from opspawn.cli.remembered import selecting, selection, with_memory
from opspawn.cli.written import holds_something, written
from opspawn.contracts.memory import Memory, MemoryItem, OnProgress, Selection, every_item
from opspawn.errors import InvalidInput

_PIECE = 100
EVERYTHING = Selection((), below=True)


@click.command("export")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True), default="-")
@selecting
@click.pass_context
def export(context: click.Context, /, file: str, **selected: Any) -> None:
    """Write memories to FILE, or stdout, as JSON lines, without vectors.

    What FILE holds is replaced once all is written, and stays if there is nothing to write.
    """
    select = selection(**selected)

    async def act(opened: Memory) -> None:
        count = 0
        with written(file) as out:
            async for item in every_item(opened, select):
                out.write(json.dumps(item_to_json(item), ensure_ascii=False) + "\n")
                count += 1
            if not count and holds_something(file):
                raise InvalidInput(f"Nothing fits, so {file!r} was left as it is.", remedy="Delete it if it is old.")
        say(f"Exported {memories(count)}.")

    with_memory(context, act)


@click.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@json_option
@click.pass_context
def import_file(context: click.Context, file: TextIO, as_json: bool) -> None:
    """Keep the memories in FILE, as `export` wrote them, under their ids; what is there already stays as it is.

    The file is read whole before anything is kept. What has expired since is left out.
    """
    now = datetime.now(UTC)
    found = list(_read(file))
    items = [item for item in found if item.expires is None or item.expires > now]
    expired = len(found) - len(items)

    async def act(opened: Memory) -> None:
        new = 0
        with progress("Importing", as_json) as tell:
            for start in range(0, len(items), _PIECE):
                some = items[start : start + _PIECE]
                new += sum(one.new for one in await opened.add(some, duplicates="keep"))
                tell(start + len(some), len(items))
        if as_json:
            print_json({"new": new, "known": len(items) - new, "expired": expired})
        else:
            left = f" {expired:,} had expired, and {'was' if expired == 1 else 'were'} left out." if expired else ""
            say(f"Imported {new:,}; {len(items) - new:,} were there already.{left}")

    with_memory(context, act, new=True, embeds=True)


@click.command()
@json_option
@click.pass_context
def reembed(context: click.Context, as_json: bool) -> None:
    """Give all memories vectors of the embedder that is configured now; without one, take their vectors away.

    What is broken off goes on the next time; until then those without a vector are found by their words.
    """

    async def act(opened: Memory) -> None:
        with progress("Embedding", as_json) as tell:
            renewed = await renew(opened, tell)
        made, removed = renewed.made, renewed.removed
        if as_json:
            print_json(asdict(renewed))
        elif configuration().settings.embedder is None:
            say(f"Removed {removed:,} {'vector' if removed == 1 else 'vectors'}, since no embedder is configured.")
        else:
            say(f"Made {made:,} {'vector' if made == 1 else 'vectors'}.")

    with_memory(context, act, embeds=True)


@click.command()
@json_option
@click.pass_context
def compact(context: click.Context, as_json: bool) -> None:
    """Make the memory small and quick: merge its files, bring its indexes up to date.

    Memories do this by themselves as far as they need to; it helps after much was added or forgotten at once.
    """

    async def act(opened: Memory) -> None:
        before = (await opened.stats(EVERYTHING)).bytes
        with progress("Compacting", as_json) as tell:
            await opened.compact(tell)
        after = (await opened.stats(EVERYTHING)).bytes
        if as_json:
            print_json({"before": before, "after": after})
        elif before is None or after is None:
            say("Compacted.")
        else:
            say(f"Compacted: {before / 1024:,.0f} KiB before, {after / 1024:,.0f} KiB now.")

    with_memory(context, act)


def memories(count: int) -> str:
    """So many memories, in words."""
    return f"{count:,} {'memory' if count == 1 else 'memories'}"


@contextmanager
def progress(what: str, as_json: bool) -> Iterator[OnProgress]:
    """A progress bar on a terminal, once it is heard that not all is done; nothing elsewhere, nor beside JSON."""
    if as_json or not sys.stderr.isatty():
        yield lambda done, all: None
        return
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=None)

    def tell(done: int, all: int) -> None:
        if done < all:
            bar.start()
        bar.update(task, completed=done, total=all)

    try:
        yield tell
    finally:
        bar.stop()


def _read(file: TextIO) -> Iterator[MemoryItem]:
    try:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield item_from_json(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise InvalidInput(f"{file.name}, line {number}, is no JSON: {error}.") from error
            except InvalidInput as error:
                words = f"{file.name}, line {number}: {error.message}"
                raise InvalidInput(words, faults=error.faults, remedy=error.remedy) from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file.name} is no UTF-8 text (byte {error.start}).") from error
