"""One protocol from the server's side: how its requests are read, and what its answers look like."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from opspawn.contracts.model import Usage
from opspawn.testing.model_server.steps import Answer


class BadRequest(Exception):
    """The request is refused with status 400; `param` names the offending parameter."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


@dataclass(frozen=True, slots=True)
class Frame:
    """One server-sent event. `piece` marks those that carry a piece of the answer; `data` None is chat's `[DONE]`."""

    data: dict[str, Any] | None
    piece: bool = False

    def encode(self) -> bytes:
        """The event as bytes; protocols whose events have a type name each one."""
        if self.data is None:
            return b"data: [DONE]\n\n"
        name = f"event: {self.data['type']}\n" if "type" in self.data else ""
        return f"{name}data: {json.dumps(self.data, ensure_ascii=False)}\n\n".encode()


class Wire(Protocol):
    """What `ModelServer` needs of a protocol.

    Attributes:
        id_header: the header that carries the id of a request.
    """

    id_header: str

    def read(self, body: Any, headers: Mapping[str, str]) -> dict[str, Any]:
        """Return `{dialect, model, messages, tools, stream, body}`; messages and tools alike in every protocol.

        `messages` have role, content (text), images and files (counts), tool_calls (id, name, arguments as text) and
        tool_call_id; `tools` have name, description and parameters.

        Raises: BadRequest: the real server would not take it.
        """
        ...

    def whole(self, request: dict[str, Any], answer: Answer) -> dict[str, Any]:
        """The answer as one JSON object."""
        ...

    def frames(self, request: dict[str, Any], answer: Answer) -> Iterator[Frame]:
        """The answer as a stream."""
        ...

    def error(self, status: int, message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
        """The body of an error, as the vendor words it."""
        ...


def pieces(text: str) -> list[str]:
    """Cut text into words with the space before them; joined again they are the text."""
    return re.findall(r"\s*\S+|\s+$", text) or ([text] if text else [])


def usage_of(request: dict[str, Any], answer: Answer) -> Usage:
    """The figures that the script gives, or counted words."""
    if answer.usage is not None:
        return answer.usage
    asked = sum(len(str(message.get("content") or "").split()) for message in request["messages"])
    said = (
        len(pieces(answer.text)) + len(pieces(answer.reasoning)) + sum(len(pieces(raw)) + 1 for _, raw in answer.calls)
    )
    return Usage(asked, said, 0, len(pieces(answer.reasoning)), 1)


def call_ids(request: dict[str, Any], answer: Answer, prefix: str = "call_") -> list[str]:
    """An id per call: the same for the same conversation, in whichever process; another for any other conversation."""
    asked = json.dumps([request["model"], request["messages"]], sort_keys=True, default=str).encode()
    digest = hashlib.blake2b(asked, digest_size=6).hexdigest()
    return [f"{prefix}{digest}_{index}" if answer.ids else "" for index in range(len(answer.calls))]


def seal(text: str) -> str:
    """What stands for a vendor's signature of a thought: the same for the same text, and nobody else's."""
    return "sealed-" + hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
