"""`opspawn mcp resources`, `read`, `prompts` and `prompt`: what servers hold besides tools, by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import click

from opspawn.cli.output import json_option, print_json, print_text, say
from opspawn.cli.tables import print_table
from opspawn.errors import InvalidInput
from opspawn_mcp import prompts, resources
from opspawn_mcp.cli.calling import arguments_of, decide
from opspawn_mcp.cli.opening import fleet, run
from opspawn_mcp.faults import ServerFault
from opspawn_mcp.fleet import Fleet, Member
from opspawn_mcp.naming import split
from opspawn_mcp.reading import GetPrompt, ReadResource
from opspawn_mcp.watching import watching

_YES = click.option("--yes", is_flag=True, help="Carry it out even where the rules would ask somebody.")


@click.command("resources")
@click.argument("server", required=False)
@json_option
@click.pass_context
def list_resources(context: click.Context, server: str | None, as_json: bool) -> None:
    """List the resources of all servers, or of one, and whether agents may read them (`resources`)."""

    async def main() -> int:
        async with fleet() as found:
            told, faults = await _each(found, server, _resources_of)
            if as_json:
                print_json(told)
            else:
                rows = [(one["server"], one.get("uri") or one["template"], one["granted"], one["name"]) for one in told]
                print_table(("server", "uri", "granted", "name"), rows, empty="There are no resources.")
            return _tell(faults)

    context.exit(run(main()))


async def _resources_of(member: Member) -> list[dict[str, Any]]:
    if (await member.server.ready()).client.server_capabilities.resources is None:
        return []
    found = await member.calls.request("resources/list", lambda client: resources.listed(client, member.name))
    told = [
        {"server": member.name, **one, "granted": "yes" if resources.readable(member.config, one["uri"]) else "no"}
        for one in found["resources"]
    ]
    return told + [{"server": member.name, **one, "granted": ""} for one in found["templates"]]


@click.command("prompts")
@click.argument("server", required=False)
@json_option
@click.pass_context
def list_prompts(context: click.Context, server: str | None, as_json: bool) -> None:
    """List the prompts of all servers, or of one, their arguments, and whether agents may get them (`prompts`)."""

    async def main() -> int:
        async with fleet() as found:
            told, faults = await _each(found, server, _prompts_of)
            if as_json:
                print_json(told)
            else:
                rows = [
                    (f"{one['server']}/{one['prompt']}", one["granted"], _named(one["arguments"]), one["description"])
                    for one in told
                ]
                print_table(("prompt", "granted", "arguments", "description"), rows, empty="There are no prompts.")
            return _tell(faults)

    context.exit(run(main()))


async def _prompts_of(member: Member) -> list[dict[str, Any]]:
    if (await member.server.ready()).client.server_capabilities.prompts is None:
        return []
    found = await member.calls.request("prompts/list", lambda client: prompts.listed(client, member.name))
    return [
        {"server": member.name, **one, "granted": "yes" if prompts.gettable(member.config, one["prompt"]) else "no"}
        for one in found
    ]


@click.command("read")
@click.argument("server")
@click.argument("uri")
@click.option("--follow", is_flag=True, help="Read it again each time the server says that it has changed.")
@_YES
@json_option
@click.pass_context
def read(context: click.Context, server: str, uri: str, follow: bool, yes: bool, as_json: bool) -> None:
    """Read the resource URI of SERVER, under the same policy as agents; you are the agent "operator"."""
    context.exit(run(_read(server, uri, follow, yes, as_json)))


async def _read(server: str, uri: str, follow: bool, yes: bool, as_json: bool) -> None:
    async with fleet() as found:
        member = found.member(server)
        await decide(ReadResource(member), {"uri": uri}, yes)
        link = await member.server.ready()
        if not follow:
            await _print(member, uri, as_json)
            return
        async with watching(member.server, link, uri) as watch:
            await _print(member, uri, as_json)
            while await watch.next():
                await _print(member, uri, as_json)
        raise ServerFault(server, "the connection was lost, and with it the news of changes", error_type="transient")


async def _print(member: Member, uri: str, as_json: bool) -> None:
    limit = member.config.max_result_bytes
    content = await member.calls.request("resources/read", lambda client: client.read_resource(uri))
    if as_json:
        contents = [one.model_dump(mode="json", by_alias=True, exclude_none=True) for one in content.contents]
        print_json({"server": member.name, "uri": uri, "contents": contents})
    else:
        print_text(resources.text_of(content, limit))


@click.command("prompt")
@click.argument("prompt")
@click.argument("arguments", nargs=-1)
@_YES
@json_option
@click.pass_context
def prompt(context: click.Context, prompt: str, arguments: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Get PROMPT, as SERVER/PROMPT, with ARGUMENTS: one JSON object, or NAME=VALUE pairs.

    The rules of the server decide as they would for an agent that is called "operator".
    """
    context.exit(run(_prompt(prompt, arguments, yes, as_json)))


async def _prompt(full: str, given: tuple[str, ...], yes: bool, as_json: bool) -> None:
    parts = split(full)
    if parts is None:
        raise InvalidInput(f"{full!r} is no prompt.", remedy="Write SERVER/PROMPT; 'opspawn mcp prompts' lists them.")
    arguments = prompts.check_arguments(arguments_of(given, texts=True))
    async with fleet() as found:
        member = found.member(parts[0])
        await decide(GetPrompt(member), {"prompt": parts[1], "arguments": arguments}, yes)
        made = await member.calls.request("prompts/get", lambda client: client.get_prompt(parts[1], arguments))
        limit = member.config.max_result_bytes
        if as_json:
            print_json(prompts.to_json(made, limit))
        else:
            print_text(prompts.text_of(made, limit))


async def _each(
    found: Fleet, server: str | None, list_: Callable[[Member], Awaitable[list[dict[str, Any]]]]
) -> tuple[list[dict[str, Any]], list[ServerFault]]:
    """What the servers have, in order, and what went wrong with some of them."""
    members = [found.member(server)] if server else [m for m in found.members.values() if m.server.state != "off"]
    told = await asyncio.gather(*(list_(member) for member in members), return_exceptions=True)
    faults: list[ServerFault] = []
    items: list[dict[str, Any]] = []
    for one in told:
        if isinstance(one, ServerFault):
            faults.append(one)
        elif isinstance(one, BaseException):
            raise one
        else:
            items += one
    return items, faults


def _tell(faults: list[ServerFault]) -> int:
    for fault in faults:
        say(fault.message)
    return int(bool(faults))


def _named(arguments: list[dict[str, Any]]) -> str:
    return " ".join(one["name"] if one["required"] else f"[{one['name']}]" for one in arguments)
