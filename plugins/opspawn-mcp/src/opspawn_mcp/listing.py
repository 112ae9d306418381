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
from opspawn_mcp.paging import pages


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
    async for page in pages(
        server, "tools", lambda cursor: client.list_tools(cursor=cursor, cache_mode="refresh"), lambda one: one.tools
    ):
        for tool in page:
            if tool.name in found:
                raise ServerFault(server, f"it lists the tool {tool.name!r} twice")
            found[tool.name] = Definition.of(tool)
        if len(found) > most:
            raise ServerFault(server, f"it lists more than {most:,} tools (max_tools)")
    return tuple(found.values())
