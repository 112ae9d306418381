"""`opspawn mcp call`: one call by hand, for whoever tries a server out."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Any

import click

from opspawn.agentkit.parts import parts_of, plain_parts, words_of
from opspawn.cli.output import json_option, print_json, print_text
from opspawn.contracts.content import File, Image, Part
from opspawn.contracts.policy import Considered
from opspawn.contracts.tool import ToolContext
from opspawn.errors import Denied, InvalidInput
from opspawn_mcp.cli.opening import fleet, run
from opspawn_mcp.naming import split
from opspawn_mcp.reading import Shelf
from opspawn_mcp.tools import McpTool

#: In whose name calls by hand are made.
OPERATOR = "operator"


@click.command("call")
@click.argument("tool")
@click.argument("arguments", nargs=-1)
@click.option("--yes", is_flag=True, help="Carry it out even where the rules would ask somebody.")
@json_option
@click.pass_context
def call(context: click.Context, tool: str, arguments: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Call TOOL, as SERVER/TOOL, with ARGUMENTS: one JSON object, or NAME=VALUE pairs whose values may be JSON.

    The rules of the server decide as they would for an agent that is called "operator", and only approved tools are
    called.
    """
    context.exit(run(_call(tool, arguments, yes, as_json)))


async def _call(full: str, given: tuple[str, ...], yes: bool, as_json: bool) -> None:
    parts = split(full)
    if parts is None:
        raise InvalidInput(f"{full!r} is no tool.", remedy="Write SERVER/TOOL; 'opspawn mcp tools' lists them.")
    arguments = arguments_of(given)
    async with fleet() as found:
        member = found.member(parts[0])
        await member.server.ready()
        tool = member.tool(parts[1])
        await decide(tool, arguments, yes)
        value = await tool.call(arguments, ToolContext("", OPERATOR))
        pieces = parts_of(value)
        if as_json or not (pieces or isinstance(value, str)):
            print_json(plain_parts(value))
        else:
            print_text("\n".join(map(_in_words, pieces)) if pieces else value)


def _in_words(part: Part) -> str:
    if isinstance(part, Image | File):
        return f"[{type(part).__name__}, {part.media_type}, {len(part.data or b''):,} bytes; its content with --json]"
    return words_of([part])


async def decide(tool: McpTool | Shelf, arguments: dict[str, Any], yes: bool) -> None:
    """Raises: Denied: a rule says no, or wants somebody to be asked."""
    said = tool.decide(Considered("tool", tool.name, arguments, OPERATOR, tool.effect))
    verdict = await said if isinstance(said, Awaitable) else said
    if verdict is None or verdict.decision == "allow":
        return
    if verdict.decision == "deny":
        raise Denied(f"{tool.name} was not called. {verdict.reason}")
    if not yes:
        raise Denied(f"{tool.name} was not called: a human must be asked. {verdict.reason}", remedy="Add --yes.")


def arguments_of(given: tuple[str, ...], *, texts: bool = False) -> dict[str, Any]:
    """The arguments as typed; with `texts` values are not read as JSON. Raises: InvalidInput."""
    if len(given) == 1 and given[0].lstrip().startswith("{"):
        try:
            whole = json.loads(given[0])
        except ValueError as error:
            raise InvalidInput(f"The arguments are no JSON: {error}.") from error
        return dict(whole)
    found: dict[str, Any] = {}
    for pair in given:
        name, mark, value = pair.partition("=")
        if not (mark and name):
            raise InvalidInput(f"{pair!r} is no argument.", remedy="Write NAME=VALUE, or one JSON object.")
        try:
            found[name] = value if texts else json.loads(value)
        except ValueError:
            found[name] = value
    return found
