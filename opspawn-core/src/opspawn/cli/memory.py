"""`opspawn memory`: what agents remember: list, search, show, add, forget."""

from __future__ import annotations

import json
from typing import Any

import click

from opspawn.agentkit.memory_json import hit_to_json, item_to_json, stats_to_json
from opspawn.cli.deciding import who
from opspawn.cli.memory_files import compact, export, import_file, memories, reembed
from opspawn.cli.output import json_option, print_json, print_text, say
from opspawn.cli.remembered import json_of, namespace_option, selecting, selection, with_memory
from opspawn.cli.tables import print_table
from opspawn.config.durations import span_s
from opspawn.contracts.memory import Memory, MemoryItem, MemoryQuery, Provenance, Selection, every_item
from opspawn.errors import InvalidInput, NotFound


@click.group()
def memory() -> None:
    """See, search, add and forget what agents remember."""


@memory.command("list")
@selecting
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many at most.")
@click.option("--cursor", help="Go on where the last page ended.")
@json_option
@click.pass_context
def list_items(context: click.Context, /, limit: int, cursor: str | None, as_json: bool, **selected: Any) -> None:
    """List memories, the newest first."""
    select = selection(**selected)

    async def act(opened: Memory) -> None:
        page = await opened.items(select, limit=limit, cursor=cursor)
        if as_json:
            print_json({"items": [item_to_json(item) for item in page.items], "cursor": page.cursor})
            return
        rows = [[item.id, " / ".join(item.namespace), item.text, item.subject, item.created] for item in page.items]
        print_table(["id", "namespace", "text", "subject", "created"], rows, empty="Nothing is remembered there.")
        if page.cursor:
            say(f"More: --cursor {page.cursor}")

    with_memory(context, act)


@memory.command()
@click.argument("query")
@selecting
@click.option("--limit", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many at most.")
@click.option("--min-score", type=float, default=0.0, help="How near they must be, 0 to 1.")
@click.option("--mode", type=click.Choice(["auto", "text", "vector", "hybrid"]), default="auto", help="How to search.")
@json_option
@click.pass_context
def search(
    context: click.Context, /, query: str, limit: int, min_score: float, mode: Any, as_json: bool, **selected: Any
) -> None:
    """Find what is nearest to QUERY, best first."""
    asked = MemoryQuery(query, selection(**selected), limit, min_score, mode)

    async def act(opened: Memory) -> None:
        hits = await opened.search(asked)
        if as_json:
            print_json([hit_to_json(hit) for hit in hits])
            return
        rows = [
            [hit.item.id, f"{hit.score:.3f}", hit.item.text, " / ".join(hit.item.namespace), ", ".join(hit.why.words)]
            for hit in hits
        ]
        print_table(["id", "score", "text", "namespace", "words"], rows, empty="Nothing was found.")

    with_memory(context, act, embeds=mode != "text")


@memory.command()
@click.argument("id")
@namespace_option
@json_option
@click.pass_context
def show(context: click.Context, id: str, namespace: tuple[str, ...], as_json: bool) -> None:
    """Show one memory, with its source. Give its namespace if several have this id."""

    async def act(opened: Memory) -> None:
        found = (await opened.items(Selection(namespace, below=True, ids=(id,)), limit=2)).items
        if not found:
            raise NotFound("memory", id)
        if len(found) > 1:
            raise InvalidInput(f"Several namespaces have {id!r}.", remedy="Give the one that is meant with -n.")
        told = item_to_json(found[0])
        if as_json:
            print_json(told)
            return
        for name, value in told.items():
            print_text(f"{name:<12} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")

    with_memory(context, act)


@memory.command()
@click.argument("text")
@namespace_option
@click.option("--subject", default="", help="Whom or what it is about.")
@click.option("--metadata", metavar="JSON", help='E.g. \'{"kind": "fact"}\'.')
@click.option("--confidence", type=float, default=1.0, show_default=True, help="How sure it is, 0 to 1.")
@click.option("--ttl", metavar="SPAN", help="When it expires, e.g. 30d; never by default.")
@click.option("--source", default="", help="Where it is from.")
@json_option
@click.pass_context
def add(
    context: click.Context,
    text: str,
    namespace: tuple[str, ...],
    subject: str,
    metadata: str | None,
    confidence: float,
    ttl: str | None,
    source: str,
    as_json: bool,
) -> None:
    """Keep TEXT; what is there already in the same words is not kept twice."""
    ttl_s = None if ttl is None else span_s(ttl)
    if ttl is not None and ttl_s is None:
        raise InvalidInput(f"--ttl {ttl!r} is no span of time.", remedy="Write 90s, 10m, 2h or 30d.")
    told = Provenance(source or "command line", who())
    if not namespace:
        raise InvalidInput("Nobody is named whose memory this is.", remedy='Give -n, e.g. -n "user:ada".')
    item = MemoryItem(text, namespace, "", json_of(metadata, "--metadata"), subject, told, confidence, ttl_s)

    async def act(opened: Memory) -> None:
        [added] = await opened.add([item])
        if as_json:
            print_json({**item_to_json(added.item), "new": added.new})
        else:
            print_text(added.item.id)
            say("Kept." if added.new else "That was known already.")

    with_memory(context, act, new=True, embeds=True)


@memory.command()
@click.argument("ids", nargs=-1)
@selecting
@click.option("--all", "everything", is_flag=True, help="All in the namespace, and without one, all there is.")
@click.option("--dry-run", is_flag=True, help="Only say how many would be forgotten.")
@json_option
@click.pass_context
def forget(
    context: click.Context, /, ids: tuple[str, ...], everything: bool, dry_run: bool, as_json: bool, **selected: Any
) -> None:
    """Forget the memories IDS, or all that the options select, for good: nothing is left of them in the files.

    Give their namespace if several have an id.
    """
    select = selection(**selected, ids=ids)
    if not everything and not select.chosen:
        raise InvalidInput("Nothing says what to forget.", remedy="Give ids, --subject, --session, ..., or --all.")

    async def act(opened: Memory) -> None:
        if ids and not everything:
            await _refuse_several(opened, select)
        count = len([one async for one in every_item(opened, select)]) if dry_run else await opened.forget(select)
        if as_json:
            print_json({"forgotten": count, "dryRun": dry_run})
        else:
            say(f"{'Would forget' if dry_run else 'Forgot'} {memories(count)}.")

    with_memory(context, act)


@memory.command()
@namespace_option
@json_option
@click.pass_context
def stats(context: click.Context, namespace: tuple[str, ...], as_json: bool) -> None:
    """Say how much is remembered, and by whose vectors it is found."""

    async def act(opened: Memory) -> None:
        found = await opened.stats(Selection(namespace, below=True))
        if as_json:
            print_json(stats_to_json(found))
            return
        count = f"{found.vectors:,} vector{'' if found.vectors == 1 else 's'}"
        vectors = f"{count} of {found.embedder}, {found.dim} numbers each." if found.embedder else ""
        size = f", {found.bytes / 1024:,.0f} KiB in all" if found.bytes is not None else ""
        say(f"{memories(found.items)}{size}. {vectors or 'No vectors: they are found by their words.'}")
        rows = [[" / ".join(space), count] for space, count in found.namespaces]
        print_table(["namespace", "memories"], rows)
        if rest := found.items - sum(count for _, count in found.namespaces):
            say(f"These are the {len(rows)} largest; others have {memories(rest)}. See the parts of one with -n.")

    with_memory(context, act)


async def _refuse_several(opened: Memory, select: Selection) -> None:
    """Raises: InvalidInput: an id is that of several memories; who gives one means one."""
    seen: set[str] = set()
    async for item in every_item(opened, select):
        if item.id in seen:
            raise InvalidInput(
                f"Several namespaces have {item.id!r}.", remedy="Give the one that is meant with -n, or --all for each."
            )
        seen.add(item.id)


for command in (export, import_file, reembed, compact):
    memory.add_command(command)
