"""The webhook by which agentkit tells of its agents: signed, in order, and never twice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from opspawn.contracts.clock import SYSTEM_CLOCK, Clock
from opspawn.contracts.store import Operation, Put, Record, Store
from opspawn.errors import Conflict, InvalidInput, NotFound, Refused
from opspawn.ops.agents.agents import Agents
from opspawn.ops.agents.signing import SIGNATURE, verify

_KIND = "webhook"
_RACES = 10


class Notifications:
    """Takes notifications in. Without a secret none can be trusted, so all are refused."""

    def __init__(self, store: Store, agents: Agents, secret: str | None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._store = store
        self._agents = agents
        self._secret = secret
        self._clock = clock

    async def take(self, headers: Mapping[str, str], body: bytes) -> str:
        """Do what a notification tells, and return words for its sender.

        What was taken is remembered in the commit that does it: by the agent, the last timestamp and its signatures.
        So a copy of a message is refused, also after the agent was deregistered, and so is one older than the last.

        Raises: Refused: no secret is set, the signature does not hold, or it came before. InvalidInput: it makes no
            sense.
        """
        if not self._secret:
            raise Refused(
                "This server takes no notifications: it has no secret to check them by.",
                remedy="Set OPSPAWN_AGENTS__WEBHOOK_SECRET here, and the same secret in agentkit.",
            )
        when = verify(self._secret, headers, body, self._clock.time())
        signature = {name.lower(): value for name, value in headers.items()}[SIGNATURE.lower()].lower()
        kind, details = _told(body)
        id = str(details.get("agentId") or "")
        if not id:
            raise InvalidInput("agent_details.agentId: is missing.", remedy="Name the agent.")
        for _ in range(_RACES):
            mark = await self._mark(id, when, signature)
            with suppress(Conflict):
                return await self._do(kind, id, details, [mark])
        raise Conflict(f"The agent {id!r} changes too fast; try again.")

    async def _mark(self, id: str, when: float, signature: str) -> Operation:
        known = await self._store.get(_KIND, id)
        version, seen = 0, [signature]
        if known is not None:
            last, version = float(known.data["when"]), known.version
            if when < last or (when == last and signature in known.data["signatures"]):
                raise Refused(
                    f"This notification about {id!r} came before, or a later one did.", remedy="Sign it anew."
                )
            if when == last:
                seen = [*known.data["signatures"], signature]
        return Put(Record(_KIND, id, {"when": when, "signatures": seen}), expect=version)

    async def _do(self, kind: str, id: str, details: Mapping[str, Any], also: Sequence[Operation]) -> str:
        if kind == "REGISTER":
            agent = await self._agents.register(
                id,
                name=details.get("agentName", ""),
                version=details.get("version", ""),
                capabilities=details.get("capabilities") or (),
                contact_endpoint=details.get("contactEndpoint"),
                metadata=details.get("metadata") or {},
                concurrency=details.get("concurrency", 1),
                also=also,
            )
            return f"Agent {agent.id} is registered."
        if kind == "DEREGISTER":
            with suppress(NotFound):
                await self._agents.deregister(id, also=also)
            return f"Agent {id} is deregistered."
        raise InvalidInput(f"Unknown event type: {kind}", remedy="Send REGISTER or DEREGISTER.")


def _told(body: bytes) -> tuple[str, Mapping[str, Any]]:
    try:
        data = json.loads(body)
        kind, details = str(data["event_type"]).upper(), data["agent_details"]
        if not isinstance(details, dict):
            raise TypeError
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidInput(
            "The notification is not as agentkit sends it.", remedy='Send {"event_type": ..., "agent_details": {...}}.'
        ) from error
    return kind, details
