"""What a server says it has: its tools, asked for page by page, within limits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from mcp import Client
from mcp.types import Tool as Listed

from opspawn_mcp.faults import ServerFault

_MOST_PAGES = 100


@dataclass(frozen=True)
class Definition:
    """A tool as its server defines it: all that a model or a human goes by, and so what an approval is about.

    Attributes:
        name: the server's own.
        hints: of its behaviour, by their names on the wire: readOnlyHint, destructiveHint, idempotentHint, ...
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    output: Mapping[str, Any] | None = None
    title: str = ""
    hints: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, tool: Listed) -> Definition:
        """The definition that a listing gives."""
        annotations = tool.annotations.model_dump(by_alias=True, exclude_none=True) if tool.annotations else {}
        title = tool.title or annotations.pop("title", None) or ""
        return cls(tool.name, tool.description or "", tool.input_schema, tool.output_schema, title, annotations)

    @cached_property
    def digest(self) -> str:
        """What an approval is bound to: all of it."""
        text = json.dumps(self.to_json(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The definition as it stands in the file of pins and in `opspawn mcp tools --json`."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


async def list_tools(client: Client, server: str, most: int) -> tuple[Definition, ...]:
    """All tools of a server, in its order.

    Raises: ServerFault: it lists more than `most`, without end, or a name twice; and what the SDK raises.
    """
    if client.server_capabilities.tools is None:
        return ()
    found: dict[str, Definition] = {}
    cursor: str | None = None
    seen: set[str] = set()
    for _ in range(_MOST_PAGES):
        page = await client.list_tools(cursor=cursor, cache_mode="refresh")
        for tool in page.tools:
            if tool.name in found:
                raise ServerFault(server, f"it lists the tool {tool.name!r} twice")
            found[tool.name] = Definition.of(tool)
        if len(found) > most:
            raise ServerFault(server, f"it lists more than {most:,} tools (max_tools)")
        cursor = page.next_cursor
        if cursor is None:
            return tuple(found.values())
        if cursor in seen:
            break
        seen.add(cursor)
    raise ServerFault(server, f"its list of tools has no end: {len(seen)} pages and more to come")
