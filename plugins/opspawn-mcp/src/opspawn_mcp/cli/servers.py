"""`opspawn mcp list`, `tools`, `inspect` and `doctor`: what is there, and how it is."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import click

from opspawn.cli.output import json_option, print_json, print_text, say
from opspawn.cli.tables import GrowingTable, print_table
from opspawn.errors import NotFound
from opspawn_mcp.cli.opening import fleet, run
from opspawn_mcp.faults import ServerFault
from opspawn_mcp.fleet import Fleet, Member
from opspawn_mcp.naming import model_name, split
from opspawn_mcp.standing import effect_of

_HELD = ("new", "changed", "shadows")
_COLUMNS = ("server", "state", "tools", "held back", "protocol", "at", "fault")
#: What a server may turn out to be: columns are fitted before it has answered. Faults take the room that is left.
_WIDEST = ("", "connecting", "1000", "1000", "2025-11-25", "", "it did not answer within 30 s (connect_timeout_s)")


@click.command("list")
@click.option("--offline", is_flag=True, help="Connect to none; show what is configured and approved.")
@json_option
@click.pass_context
def list_servers(context: click.Context, offline: bool, as_json: bool) -> None:
    """List the servers: whether they answer, how many tools they have, and how many are held back."""
    context.exit(run(_list(offline, as_json)))


async def _list(offline: bool, as_json: bool) -> None:
    async with fleet() as found:
        members = list(found.members.values())
        if as_json:
            if not offline:
                await found.connect(_switched_on(found))
            print_json([_about(member) for member in members])
            return
        table = GrowingTable(_COLUMNS, [_row(_about(member)) for member in members] + [_WIDEST])
        if offline:
            table.add(*(_row(_about(member)) for member in members))
            return
        async for member in _as_they_answer(found):  # a slow one does not keep back what is known of the others
            table.add(_row(_about(member)))


def _row(about: Mapping[str, Any]) -> list[Any]:
    return [about[key] for key in ("name", "state", "tools", "heldBack", "protocol", "at", "fault")]


def _about(member: Member) -> dict[str, Any]:
    server, config = member.server, member.config
    at = config.url or " ".join([config.command or "", *config.args])
    return {
        "name": member.name,
        "state": server.state,
        "tools": len(member.names()),
        "heldBack": sum(member.standing(name).status in _HELD for name in member.names()),
        "protocol": server.protocol,
        "at": at,
        "fault": server.fault.cause if server.fault else None,
    }


@click.command("tools")
@click.argument("server", required=False)
@json_option
@click.pass_context
def list_tools(context: click.Context, server: str | None, as_json: bool) -> None:
    """List the tools of all servers, or of one: their standing, their effect, and what they are for."""
    context.exit(run(_tools(server, as_json)))


async def _tools(server: str | None, as_json: bool) -> int:
    async with fleet() as found:
        names = [found.member(server).name] if server else _switched_on(found)
        await found.connect(names)
        members = [found.members[name] for name in names]
        told = [_tool(member, name) for member in members for name in member.names()]
        if as_json:
            print_json(told)
        else:
            rows = [(one["tool"], one["status"], one["effect"], _line(one["description"])) for one in told]
            print_table(("tool", "status", "effect", "description"), rows, empty="There are no tools.")
        return _tell_faults(members)


def _tool(member: Member, name: str) -> dict[str, Any]:
    found = member.standing(name)
    definition = found.definition
    return {
        "tool": f"{member.name}/{name}",
        "name": model_name(member.name, name),
        "status": found.status,
        "why": found.why,
        "effect": effect_of(member.config, name, definition),
        "description": definition.description if definition else "",
        "definition": definition.to_json() if definition else None,
    }


@click.command("inspect")
@click.argument("name")
@json_option
@click.pass_context
def inspect(context: click.Context, name: str, as_json: bool) -> None:
    """Show a server, or a tool SERVER/TOOL, in full: all that a model would be told, and how it is called."""
    context.exit(run(_inspect(name, as_json)))


async def _inspect(name: str, as_json: bool) -> int:
    async with fleet() as found:
        server, tool = (name, None) if name in found.members else split(name) or (name, None)
        member = found.member(server)
        await found.connect([server])
        if tool is None:
            _show(_whole(member), as_json)
        elif tool not in member.names():
            raise NotFound("tool", name, known=[f"{server}/{one}" for one in member.names()])
        else:
            _show(_tool(member, tool), as_json)
        return _tell_faults([member])


def _whole(member: Member) -> dict[str, Any]:
    about = _about(member)
    about["instructions"] = member.server.instructions
    about["agents"] = list(member.config.agents)
    about["tools"] = {name: member.standing(name).status for name in member.names()}
    return about


def _show(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(told)
        return
    for key, value in told.items():
        if isinstance(value, str) and "\n" not in value:
            print_text(f"{key}: {value}")
        elif value not in (None, "", [], {}):
            print_text(f"{key}:")
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
            print_text("\n".join(f"  {line}" for line in text.splitlines()))


@click.command("doctor")
@json_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Connect to every server and say what is wrong, each with a remedy. Exit code 1 if one does not answer."""
    context.exit(run(_doctor(as_json)))


async def _doctor(as_json: bool) -> int:
    async with fleet() as found:
        began, parts = time.monotonic(), {}
        async for member in _as_they_answer(found):
            part = parts[member.name] = _finding(member)
            if not as_json:  # a slow one does not keep back what is known of the others
                remedy = f" {part['remedy']}" if part["remedy"] else ""
                print_text(f"{part['level']:<8} {part['server']}: {part['message']}{remedy}")
        if as_json:
            print_json([parts[name] for name in found.members])
        else:
            say(f"Looked for {time.monotonic() - began:.1f} s.")
        return int(any(part["level"] == "error" for part in parts.values()))


async def _as_they_answer(found: Fleet) -> AsyncIterator[Member]:
    """The servers, each once it is there or has failed; those that are switched off first."""

    async def one(name: str) -> Member:
        if name in on:
            await found.connect([name])
        return found.members[name]

    on = _switched_on(found)
    for coming in asyncio.as_completed([one(name) for name in found.members]):
        yield await coming


def _finding(member: Member) -> dict[str, Any]:
    level, message, remedy = "ok", "", ""
    about = _about(member)
    if member.server.state == "off":
        message = "It is switched off (enabled)."
    elif about["fault"] is not None:
        level, message = "error", f"{about['fault']}."
        what = "Run its command by hand" if member.config.url is None else f"Look whether {member.config.url} answers"
        remedy = f"{what}, or see its log with OPSPAWN_LOGS__LEVEL=debug."
    else:
        message = f"It answers, protocol {about['protocol']}, with {about['tools']} tools."
        if about["heldBack"]:
            level = "warning"
            message += f" Held back: {about['heldBack']}."
            remedy = f"See 'opspawn mcp approve {member.name}'."
    return {"server": member.name, "level": level, "message": message, "remedy": remedy}


def _switched_on(found: Fleet) -> list[str]:
    return [name for name, member in found.members.items() if member.server.state != "off"]


def _tell_faults(members: list[Member]) -> int:
    faults: list[ServerFault] = [member.server.fault for member in members if member.server.fault is not None]
    for fault in faults:
        say(fault.message)
    return int(bool(faults))


def _line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
