"""What a process can run beyond its app: tasks of remote agents, by their ids or by what they can do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from opspawn.contracts.lifecycle import AgentState, RegisteredAgent
from opspawn.contracts.run import Handler, RetryPolicy, RunContext
from opspawn.contracts.store import Hold, Query, Store, TaskState
from opspawn.errors import InvalidInput, NotFound
from opspawn.ops.agents.agents import Agents
from opspawn.ops.agents.directory import Directory
from opspawn.ops.agents.remote import Courier

#: Tasks of remote agents are tried this often, unless whoever made them says otherwise.
REMOTE_RETRY = RetryPolicy(attempts=3, initial_s=2.0, when=("transient", "rate_limited", "timeout"))
_PREFERENCE = {AgentState.IDLE: 0, AgentState.UNKNOWN: 1, AgentState.ACTIVE: 2}


class Reach:
    """The handlers "remote/AGENTID", and "agent/WORD" where WORD is a remote agent's id or one of its capabilities."""

    def __init__(self, store: Store, agents: Agents, directory: Directory, courier: Courier) -> None:
        self._store = store
        self._agents = agents
        self._directory = directory
        self._courier = courier

    def handlers(self) -> Mapping[str, Handler]:
        """All that is known now."""
        remote = {f"remote/{id}": partial(self._courier.carry, id) for id in self._directory.remote}
        return {**remote, **{f"agent/{word}": partial(self._relay, word) for word in self._directory.words()}}

    def words(self) -> set[str]:
        """The ids and capabilities of all remote agents."""
        return self._directory.words()

    async def know(self, handler: str) -> None:
        """Learn of a handler that came after the last look. Raises: NotFound: there is no such remote agent."""
        kind, _, name = handler.partition("/")
        if kind == "remote":
            await self._directory.meet(name)
        elif kind == "agent":
            await self._directory.learn([name])

    async def learn(self, words: Iterable[str]) -> None:
        """Know who was registered before this call, if any of the words means nobody yet."""
        await self._directory.learn(words)

    def accept(self, handler: str, input: Any) -> Any:
        """The input to record. Raises: NotFound, InvalidInput."""
        kind, _, name = handler.partition("/")
        known = name in self._directory.remote if kind == "remote" else bool(self._directory.able(name))
        if not known:
            raise NotFound("remote agent" if kind == "remote" else "agent", name, known=sorted(self._directory.words()))
        if input is None or input == "":
            raise InvalidInput(f"The agent {name!r} needs an input.", remedy="Give it a text, or any JSON.")
        return input

    def holds(self, handler: str) -> tuple[Hold, ...]:
        """A remote agent gets as many tasks at once as it said, until it has reported on them."""
        kind, _, name = handler.partition("/")
        agent = self._directory.remote.get(name) if kind == "remote" else None
        return (Hold(handler, agent.concurrency or 1, "unfinished"),) if agent is not None else ()

    async def _relay(self, word: str, context: RunContext) -> Any:
        """Hand a task to the remote agent that suits best, and return its result."""
        chosen = await context.step("choose", self._choose, word)
        return await context.spawn(f"remote/{chosen}", context.input, retry=REMOTE_RETRY)

    async def _choose(self, word: str) -> str:
        """The agent to ask: one that is idle rather than one that works, and the one with the least to do."""
        able = self._directory.able(word)
        if not able:
            raise NotFound("agent", word, known=sorted(self._directory.words()))
        ranked = [(await self._rank(agent), agent.id) for agent in able]
        return min(ranked)[1]

    async def _rank(self, agent: RegisteredAgent) -> tuple[int, int]:
        status = await self._agents.get_state(agent.id)
        tasks = 0
        for state in (TaskState.QUEUED, TaskState.RUNNING, TaskState.WAITING):
            where = {"handler": f"remote/{agent.id}", "state": str(state)}
            tasks += len((await self._store.find_tasks(Query(where=where, limit=200))).items)
        return _PREFERENCE.get(status.state, len(_PREFERENCE)), tasks
