"""What the promises of a planner stand on: scripted models, an agent with tools, and one way to run it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from opspawn.agentkit import Agent, RunResult, tool
from opspawn.agentkit.function_model import Said
from opspawn.contracts.model import ModelRequest, ModelResponse, ToolCall
from opspawn.contracts.planner import Planner
from opspawn.contracts.run_events import RunEnded, RunEvent, RunFailed
from opspawn.errors import OpspawnError
from opspawn.testing.scripted import ScriptedModel

Move = str | ToolCall | Sequence[ToolCall] | ModelResponse | Exception
REFUSAL = ModelResponse("", finish_reason="content_filter")


@dataclass
class Ran:
    """One run in memory: how it ended, what the model was asked, and with what `search` was called."""

    model: ScriptedModel
    searched: list[str]
    result: RunResult | None = None
    error: OpspawnError | None = None
    events: list[RunEvent] = field(default_factory=list)

    @property
    def reasons(self) -> list[str]:
        """The words that were told for the end: one, or none for a run that has not ended."""
        ends = [event for event in self.events if isinstance(event, RunEnded | RunFailed)]
        return [event.reason for event in ends if event.reason is not None]

    @property
    def reason(self) -> str:
        """The one word that was told for the end."""
        (reason,) = self.reasons
        return reason

    @property
    def told(self) -> str:
        """All that the model was given to read in its last call."""
        return "\n".join(message.content for message in self.model.requests[-1].messages)


def call(number: int, query: str = "token") -> ToolCall:
    """A search."""
    return ToolCall(f"c{number}", "search", {"query": query})


class PlannerSuite:
    """Makes agents with the planner, and runs them."""

    def open_planner(self) -> Planner:
        """The planner."""
        raise NotImplementedError("Give the suite an open_planner.")

    def say(self, move: Move) -> Said | Exception:
        """What the planner's model would say to make this move."""
        return move

    def model(self, moves: Sequence[Move] | Callable[[int], Move]) -> ScriptedModel:
        """A model that makes the moves in turn, the last of them for ever; or what a function of the turn says."""
        asked = 0

        def next_move(request: ModelRequest) -> Said | Exception:
            nonlocal asked
            asked += 1
            move = moves(asked) if callable(moves) else moves[min(asked, len(moves)) - 1]
            return self.say(move)

        return ScriptedModel(next_move)

    def agent(self, model: Any, searched: list[str], **changes: Any) -> Agent:
        """An agent with a search that finds and a lookup that fails."""

        @tool(effect="read")
        async def search(query: str) -> str:
            """Search the handbook."""
            searched.append(query)
            return f"page on {query}"

        @tool(effect="read")
        async def lookup(number: int) -> str:
            """Look up a ticket."""
            raise LookupError(f"no ticket {number}")

        given = {"tools": [search, lookup], "instructions": "Be brief.", "max_steps": 8, **changes}
        given.setdefault("planner", self.open_planner())
        return Agent("helper", model=model, **given)

    async def run(self, moves: Sequence[Move] | Callable[[int], Move], input: Any = "How?", **changes: Any) -> Ran:
        """Run in memory; an error of ours is part of what came out."""
        ran = Ran(self.model(moves), [])
        try:
            agent = self.agent(ran.model, ran.searched, **changes)
            ran.result = await agent.run(input, on_event=ran.events.append)
        except OpspawnError as error:
            ran.error = error
        return ran
