"""Resources of servers: what there is, which of it may be read, and what was read, as text, images and files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from mcp import Client
from mcp.types import EmbeddedResource, ReadResourceResult, TextResourceContents

from opspawn.contracts.content import File, Image
from opspawn.errors import InvalidInput
from opspawn_mcp.faults import ServerFault
from opspawn_mcp.paging import whole
from opspawn_mcp.results import clamped, part_of
from opspawn_mcp.settings import ServerConfig
from opspawn_mcp.standing import matching

#: The most that is listed of one server.
MOST_LISTED = 1000
_LONGEST = 4096
_DECODINGS = 5


def readable(config: ServerConfig, uri: str) -> bool:
    """Whether the configuration lets a resource be read."""
    return matching(config.resources, uri)


def check_uri(uri: Any) -> str:
    """The address of a resource. Raises: InvalidInput: it is none, or leads elsewhere than it seems to."""
    if not isinstance(uri, str) or not uri.strip() or len(uri) > _LONGEST:
        raise InvalidInput(f"uri is {uri!r:.80}; the address of a resource is meant, of at most {_LONGEST} characters.")
    if any(ord(one) < 32 or ord(one) == 127 for one in uri):
        raise InvalidInput(f"The address {uri!r:.200} has characters that cannot be seen.")
    plain = uri
    for _ in range(_DECODINGS):
        plain, before = unquote(plain), plain
        if plain == before:
            break
    if ".." in plain.replace("\\", "/").replace("?", "/").replace("#", "/").split("/") or plain != unquote(plain):
        raise InvalidInput(f'The address {uri!r:.200} has "..", and so may lead anywhere.', remedy="Write it plainly.")
    return uri


async def listed(client: Client, server: str) -> dict[str, list[dict[str, Any]]]:
    """The resources and the templates of addresses that a server lists. Raises: ServerFault: it has none at all."""
    if client.server_capabilities.resources is None:
        raise ServerFault(server, "it has no resources")
    found = await whole(
        server,
        "resources",
        lambda cursor: client.list_resources(cursor=cursor),
        lambda page: page.resources,
        MOST_LISTED,
    )
    templates = await whole(
        server,
        "templates of resources",
        lambda cursor: client.list_resource_templates(cursor=cursor),
        lambda page: page.resource_templates,
        MOST_LISTED,
    )
    return {
        "resources": [_told("uri", one.uri, one) for one in found[:MOST_LISTED]],
        "templates": [_told("template", one.uri_template, one) for one in templates[:MOST_LISTED]],
    }


def _told(key: str, uri: str, one: Any) -> dict[str, Any]:
    kind = {} if one.mime_type is None else {"type": one.mime_type}
    return {key: uri, "name": one.title or one.name, "description": one.description or "", **kind}


def text_of(read: ReadResourceResult, most_bytes: int) -> str:
    """What was read, as text; what is none is named."""
    texts = [_words(one, alone=len(read.contents) == 1) for one in read.contents]
    return clamped("\n".join(texts), most_bytes)


def parts_of(read: ReadResourceResult, most_bytes: int) -> Sequence[Image | File]:
    """The images and files of what was read; those that are too large or broken are left out."""
    embedded = [EmbeddedResource(type="resource", resource=one) for one in read.contents]
    return [part for one in embedded if (part := part_of(one, most_bytes)) is not None]


def _words(one: Any, *, alone: bool) -> str:
    if isinstance(one, TextResourceContents):
        return one.text if alone else f"[Resource {one.uri}]\n{one.text}"
    return f"[Resource {one.uri}, {one.mime_type or 'of an unknown type'}]"
