"""A conversation in memory: what was said so far, kept between runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from opspawn.agentkit.codec import message_from_json, message_to_json
from opspawn.contracts.ids import check_id
from opspawn.contracts.model import Message
from opspawn.errors import InvalidInput


class Conversation:
    """What was said so far: `await agent.run("And in French?", session=conversation)` goes on with it.

    One run at a time; a run that fails leaves it as it was. Durable runs keep theirs in their journals instead, and
    name it by an id.

    Attributes:
        id: what the run's tools find as its session.
        messages: without a system message; the agent's instructions are written anew for each run.
    """

    def __init__(self, messages: Sequence[Message] = (), *, id: str | None = None) -> None:
        if id is not None:
            check_id("id", id)
        self.id = id or f"s-{uuid4().hex[:24]}"
        self.messages: tuple[Message, ...] = tuple(messages)

    def __repr__(self) -> str:
        return f"Conversation(id={self.id!r}, {len(self.messages)} messages)"

    def save(self, file: str | Path) -> None:
        """Write it to a file, as JSON. Raises: OSError."""
        data = {"id": self.id, "messages": [message_to_json(message) for message in self.messages]}
        Path(file).write_text(json.dumps(data, ensure_ascii=False, indent=2), "utf-8")

    @classmethod
    def read(cls, file: str | Path) -> Conversation:
        """A conversation that was saved. Raises: OSError. InvalidInput: the file holds none."""
        try:
            data = json.loads(Path(file).read_text("utf-8"))
            return cls([message_from_json(one) for one in data["messages"]], id=data["id"])
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput(f"{str(file)!r} holds no conversation: {type(error).__name__}: {error}") from error
