"""`opspawn mcp approve`: look at what a server says of its tools, and pin it."""

from __future__ import annotations

import getpass
import sys

import click

from opspawn.agentkit.matching import glob
from opspawn.cli.output import json_option, print_json, print_text, say
from opspawn.errors import InvalidInput, InvalidTransition, NotFound
from opspawn_mcp.approvals import Awaiting, awaiting, pin
from opspawn_mcp.cli.opening import fleet, run
from opspawn_mcp.fleet import Member


@click.command("approve")
@click.argument("server")
@click.argument("tool", default="*")
@click.option("--yes", is_flag=True, help="Approve what is shown without a question.")
@click.option("--shadowing", is_flag=True, help="Approve names that another server's approved tools have.")
@click.option("--by", metavar="NAME", help="Who approves; by default whoever is logged in.")
@click.option("--dry-run", is_flag=True, help="Only show what awaits approval; exit code 1 if anything does.")
@json_option
@click.pass_context
def approve(
    context: click.Context,
    server: str,
    tool: str,
    yes: bool,
    shadowing: bool,
    by: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Show what SERVER says of its tools where that is new or has changed, and pin it once you say so.

    TOOL is a name or a glob; without it, all of them. Read the whole of what is shown: a model will, and it may hold
    instructions to it. The pins are kept in a file beside opspawn.toml (plugins.mcp.pins), which belongs to the code.
    """
    context.exit(run(_approve(server, tool, yes, shadowing, by or _who(), dry_run, as_json)))


async def _approve(server: str, tool: str, yes: bool, shadowing: bool, by: str, dry_run: bool, as_json: bool) -> int:
    async with fleet() as found:
        member = found.member(server)
        await member.server.ready()
        found_now = awaiting(member)
        tools = [one for one in found_now if glob(tool, one.tool)]
        known = sorted({*member.names(), *(one.tool for one in found_now)})
        if not any(glob(tool, name) for name in known) and (known or tool != "*"):
            raise NotFound("tool", tool, known=known)
        if as_json:
            print_json([one.to_json() for one in tools])
        else:
            _show(member, tools)
        if dry_run or not tools:
            return int(bool(tools))
        if not shadowing and (shading := [one for one in tools if one.shadows]):
            names = ", ".join(f"{one.tool} (of {', '.join(one.shadows)})" for one in shading)
            raise InvalidTransition(
                f"Other servers have approved tools of the same name: {names}.",
                remedy="Approve the others by name, or all with --shadowing.",
            )
        _ask(len(tools), yes)
        pin(member, tools, by)
        for one in tools:
            digest = None if one.definition is None else one.definition.digest
            told = {"by": by, "server": server, "tool": one.tool, "pin": one.status, "definition": digest}
            await found.audit.note("approve", told)
        say(f"Pinned in {found.pins.path}: {', '.join(one.tool for one in tools)}.")
        return 0


def _show(member: Member, tools: list[Awaiting]) -> None:
    if not tools:
        say(f"All tools of {member.name} are as they were approved.")
    for one in tools:
        print_text(f"--- {member.name}/{one.tool}: {one.status}")
        print_text(one.text)


def _ask(number: int, yes: bool) -> None:
    """Raises: InvalidInput: nobody can be asked. click.Abort: somebody said no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidInput("Nobody is there to be asked.", remedy="Add --yes, once you have read what is shown.")
    click.confirm(f"Approve {number} {'tool' if number == 1 else 'tools'} as shown?", abort=True, err=True)


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
