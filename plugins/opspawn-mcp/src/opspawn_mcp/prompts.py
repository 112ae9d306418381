"""Prompts of servers: what there is, which may be got, and what a server makes of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp import Client
from mcp.types import GetPromptResult

from opspawn.errors import InvalidInput
from opspawn_mcp.faults import ServerFault
from opspawn_mcp.paging import whole
from opspawn_mcp.results import clamped, words_of
from opspawn_mcp.settings import ServerConfig
from opspawn_mcp.standing import matching

#: The most that is listed of one server.
MOST_LISTED = 1000


def gettable(config: ServerConfig, name: str) -> bool:
    """Whether the configuration lets a prompt be got."""
    return matching(config.prompts, name)


def check_arguments(given: Any) -> dict[str, str]:
    """The arguments of a prompt, which are texts. Raises: InvalidInput: they are none."""
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise InvalidInput(f"The arguments of a prompt are an object, not {given!r:.80}.")
    for name, value in given.items():
        if not isinstance(value, str):
            raise InvalidInput(f"The argument {name!r} of a prompt is a text, not {value!r:.80}.")
    return dict(given)


async def listed(client: Client, server: str) -> list[dict[str, Any]]:
    """The prompts that a server lists, in its order. Raises: ServerFault: it has none at all."""
    if client.server_capabilities.prompts is None:
        raise ServerFault(server, "it has no prompts")
    found = await whole(
        server, "prompts", lambda cursor: client.list_prompts(cursor=cursor), lambda page: page.prompts, MOST_LISTED
    )
    return [_told(one) for one in found[:MOST_LISTED]]


def _told(one: Any) -> dict[str, Any]:
    arguments = [
        {"name": each.name, "description": each.description or "", "required": bool(each.required)}
        for each in one.arguments or ()
    ]
    return {"prompt": one.name, "description": one.description or one.title or "", "arguments": arguments}


def text_of(made: GetPromptResult, most_bytes: int) -> str:
    """A prompt as text: each message under the name of who says it."""
    return clamped("\n".join(f"[{one.role}]\n{words_of(one.content)}" for one in made.messages), most_bytes)


def to_json(made: GetPromptResult, most_bytes: int) -> dict[str, Any]:
    """A prompt as `opspawn mcp prompt --json` tells it."""
    messages = [{"role": one.role, "text": clamped(words_of(one.content), most_bytes)} for one in made.messages]
    return {"description": made.description or "", "messages": messages}
