"""`opspawn mcp audit`: what was called and decided, and whether the log of it is whole."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import click

from opspawn.cli.moments import moment
from opspawn.cli.named import named
from opspawn.cli.output import json_option, print_json, print_text, say
from opspawn.cli.tables import print_table
from opspawn.errors import InvalidInput
from opspawn_mcp.audit.audit import chain_of
from opspawn_mcp.audit.reading import records
from opspawn_mcp.audit.reading import verify as verified
from opspawn_mcp.cli.opening import section

_USUAL = 100


@click.group("audit", invoke_without_command=True)
@click.option("--server", callback=named, help="Only calls of this server.")
@click.option("--agent", callback=named, help="Only calls in the name of this agent.")
@click.option("--since", help="From a time (2026-11-20T12:00) or so long ago (10m, 2h, 1d).")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=_USUAL, help=f"The last so many; {_USUAL}.")
@json_option
@click.pass_context
def audit(
    context: click.Context, server: str | None, agent: str | None, since: str | None, limit: int, as_json: bool
) -> None:
    """Show what was called and decided, newest last: who, which tool, what was decided and why, how it ended.

    With 'verify', check that nothing of it was changed, removed or put in.
    """
    if context.invoked_subcommand is not None:
        return
    after = moment(since, "--since")
    config = section()
    kept: deque[dict[str, Any]] = deque(maxlen=limit)
    calls: dict[int, dict[str, Any]] = {}
    for record in records((config.root or Path.cwd()) / config.audit.folder):
        began = calls.pop(record["of"], None) if record.get("kind") == "end" and "of" in record else None
        if began is not None:
            began["end"] = record
            continue
        if record.get("kind") == "call":
            calls[record["n"]] = record
        if server is not None and record.get("server") != server:
            continue
        if agent is not None and record.get("agent") != agent:
            continue
        if after is not None and record.get("at", "") < after.strftime("%Y-%m-%dT%H:%M:%S"):
            continue
        kept.append(record)
    if as_json:
        print_json(list(kept))
        return
    rows = [_row(record) for record in kept]
    print_table(("n", "at", "who", "tool", "decision", "outcome", "ms", "why"), rows, empty="Nothing is recorded.")


@audit.command("verify")
@click.option("--expect", metavar="N:HASH", help="A record that was noted elsewhere, and must still be there.")
@json_option
@click.pass_context
def verify(context: click.Context, expect: str | None, as_json: bool) -> None:
    """Check the chain of the whole log. Exit code 1, with the place, if anything was changed, removed or put in."""
    config = section()
    found = verified((config.root or Path.cwd()) / config.audit.folder, chain_of(config.audit), _expected(expect))
    if as_json:
        told = {"records": found.records, "first": found.first, "last": found.last, "hash": found.hash}
        print_json({**told, "faults": found.faults})
    else:
        for fault in found.faults:
            say(fault)
        print_text(f"{found.records} records, {found.first} to {found.last}. The last: {found.last}:{found.hash}")
        print_text("The log is whole." if not found.faults else f"The log is not whole: {len(found.faults)} faults.")
    context.exit(int(bool(found.faults)))


def _expected(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    n, _, made = text.partition(":")
    if not n.isdigit() or len(made) != 64:
        raise InvalidInput(f"{text!r} names no record.", remedy="Write N:HASH, as 'opspawn mcp audit verify' tells it.")
    return int(n), made


def _row(record: dict[str, Any]) -> tuple[Any, ...]:
    end = record.get("end") or {}
    tool = "/".join(one for one in (record.get("server"), record.get("tool")) if one)
    who = record.get("by") or record.get("agent") or ""
    outcome = end.get("outcome") or ("?" if record.get("kind") == "call" else record.get("outcome", record.get("kind")))
    why = record.get("reason") or end.get("error") or ""
    ms = end.get("durationMs")
    return (
        record["n"], record.get("at", ""), who, tool, record.get("decision", ""), outcome,
        "" if ms is None else round(ms), why,
    )  # fmt: skip
