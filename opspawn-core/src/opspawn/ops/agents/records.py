"""How an agent is kept: one record of the kind "agent" with what is registered, what was reported, and whether it is
paused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from opspawn.contracts.clock import iso_or_none, time_or_none
from opspawn.contracts.ids import ID_WORDS, is_id
from opspawn.contracts.lifecycle import AgentState, RegisteredAgent
from opspawn.contracts.store import Record
from opspawn.errors import InvalidInput
from opspawn.ops.states import SERVED, plain_object

KIND = "agent"
_MAX_CAPABILITIES = 64
_MAX_CONCURRENCY = 10_000


@dataclass(frozen=True, slots=True)
class Kept:
    """An agent as its record has it; `state` is what was reported, over which a pause lies."""

    agent: RegisteredAgent
    state: AgentState = AgentState.UNKNOWN
    details: Mapping[str, Any] | None = None
    timestamp: datetime | None = None
    paused: datetime | None = None
    pause_details: Mapping[str, Any] | None = None
    version: int = 0

    @property
    def shown(self) -> AgentState:
        """The state as others see it."""
        return AgentState.PAUSED if self.paused is not None else self.state

    @property
    def served(self) -> bool:
        """Whether its lane is open."""
        return self.shown in SERVED

    @property
    def record(self) -> Record:
        """What is put into the store."""
        agent = self.agent
        data = {
            "name": agent.name,
            "local": agent.local,
            "version": agent.version,
            "capabilities": list(agent.capabilities),
            "contactEndpoint": agent.contact_endpoint,
            "metadata": dict(agent.metadata),
            "concurrency": agent.concurrency,
            "registered": iso_or_none(agent.registered),
            "state": str(self.state),
            "details": None if self.details is None else dict(self.details),
            "timestamp": iso_or_none(self.timestamp),
            "paused": iso_or_none(self.paused),
            "pauseDetails": None if self.pause_details is None else dict(self.pause_details),
        }
        return Record(KIND, agent.id, data, fields={"local": "yes" if agent.local else "no"})

    @classmethod
    def of(cls, record: Record) -> Kept:
        """What a record says."""
        data = record.data
        agent = RegisteredAgent(
            id=record.id,
            name=data["name"],
            local=data["local"],
            version=data["version"],
            capabilities=tuple(data["capabilities"]),
            contact_endpoint=data["contactEndpoint"],
            metadata=data["metadata"],
            concurrency=data["concurrency"],
            registered=time_or_none(data["registered"]),
        )
        return cls(
            agent,
            AgentState(data["state"]),
            data["details"],
            time_or_none(data["timestamp"]),
            time_or_none(data["paused"]),
            data["pauseDetails"],
            record.version,
        )

    def registered_again(self, agent: RegisteredAgent) -> Kept:
        """The same with a newer registration: what was reported stays, and so does the first registration's time."""
        return replace(self, agent=replace(agent, registered=self.agent.registered))


def handler_of(agent: RegisteredAgent) -> str:
    """The handler of an agent's tasks, which is its lane."""
    return f"{'agent' if agent.local else 'remote'}/{agent.id}"


def checked(agent: RegisteredAgent) -> RegisteredAgent:
    """A remote agent, every value looked at. Raises: InvalidInput, with every fault."""
    faults = []
    if not is_id(agent.id):
        faults.append(f"agentId: an id is {ID_WORDS}.")
    if not isinstance(agent.name, str) or not agent.name.strip() or len(agent.name) > 200:
        faults.append("agentName: must be a text of 1 to 200 characters.")
    if not isinstance(agent.version, str) or len(agent.version) > 100:
        faults.append("version: must be a text of up to 100 characters.")
    faults += _capability_faults(agent.capabilities)
    faults += _endpoint_faults(agent.contact_endpoint)
    count = agent.concurrency
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= _MAX_CONCURRENCY:
        faults.append(f"concurrency: must be a whole number from 1 to {_MAX_CONCURRENCY}.")
    if faults:
        raise InvalidInput(f"The agent cannot be registered: {faults[0]}", faults=faults)
    return replace(agent, metadata=plain_object("metadata", agent.metadata))


def _capability_faults(given: Sequence[str]) -> list[str]:
    fits = len(given) <= _MAX_CAPABILITIES and all(isinstance(one, str) and 1 <= len(one) <= 100 for one in given)
    return [] if fits else [f"capabilities: must be up to {_MAX_CAPABILITIES} texts of 1 to 100 characters."]


def _endpoint_faults(given: str | None) -> list[str]:
    if given is None:
        return ["contactEndpoint: is missing. Give the URL that takes the agent's tasks."]
    try:
        parts = urlsplit(given)
        port_fits = parts.port is None or parts.port > 0
    except (ValueError, AttributeError):
        return [f"contactEndpoint: {str(given)[:80]!r} is no URL."]
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_fits or len(given) > 2000:
        return [f"contactEndpoint: {given[:80]!r} must be a URL that begins with http:// or https://."]
    if parts.username is not None or parts.password is not None:
        return ["contactEndpoint: must hold no name or password."]
    return []
