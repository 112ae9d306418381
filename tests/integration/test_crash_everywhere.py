"""The whole of it at once: killed before and after each of its writes in turn, an agent with tools of every effect, a
colleague, an approval, a compaction and a budget ends the same, does nothing twice that must not happen twice, pays
nothing twice that is recorded, and is charged for what was cut off.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest

from opspawn import Agent, App, Budget, Window, tool
from opspawn.config import Loaded
from opspawn.config.settings import PolicyRule, PolicySettings, Settings
from opspawn.contracts.events import Event
from opspawn.contracts.model import ModelRequest, ModelResponse, ToolCall, Usage
from opspawn.contracts.store import Query
from opspawn.errors import InvalidTransition
from opspawn.host import Host
from opspawn.ops.run.history import History
from opspawn.testing import CrashRun, LoopPlanner, ScriptedModel, crash_everywhere, virtual_time

BUDGET = Budget(tokens=100_000, requests=60, tool_calls=40, depth=1, wall_s=30 * 86400)
SETTINGS = {"max_tokens": 100}


def used(request: ModelRequest) -> Usage:
    """What a vendor would count: a token for four characters, and ten for the answer."""
    return Usage(sum(len(message.content) for message in request.messages) // 4, 10, requests=1)


class World:
    """What happens outside the run, and who is asked."""

    def __init__(self) -> None:
        self.did: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()

    def app(self) -> App:
        """The app of one run, in a new world."""
        self.__init__()  # type: ignore[misc]  # a new world for each run, under the same name

        @tool(effect="read")
        async def read(page: int) -> str:
            """Read a page."""
            self.did[f"read {page}"] += 1
            return f"page {page}: " + "word " * 200

        @tool(effect="idempotent")
        async def note(text: str) -> str:
            """Keep a note."""
            self.did[f"note {text}"] += 1
            return "kept"

        @tool(effect="once")
        async def pay(amount: int) -> str:
            """Pay."""
            self.did[f"pay {amount}"] += 1
            return f"paid {amount}"

        finder = Agent(
            "finder", model=ScriptedModel(self._finder), planner=LoopPlanner(), tools=[read], settings=SETTINGS
        )
        chief = Agent(
            "chief",
            model=ScriptedModel(self._chief),
            planner=LoopPlanner(),
            tools=[read, note, pay, finder],
            settings=SETTINGS,
            window=Window(600, keep_last=1),
        )
        return App(agents=[chief])

    def _chief(self, request: ModelRequest) -> ModelResponse:
        self._count("chief", request)
        if request.messages[0].content.startswith("You write notes"):
            return ModelResponse("Pages were read.", usage=used(request))
        calls = (
            ToolCall("c0", "read", {"page": 0}),
            ToolCall("c1", "note", {"text": "begun"}),
            ToolCall("c2", "finder", {"input": "Look at page 7."}),
            ToolCall("c3", "pay", {"amount": 5}),
            ToolCall("c4", "read", {"page": 1}),
        )
        return self._next(request, calls)

    def _finder(self, request: ModelRequest) -> ModelResponse:
        self._count("finder", request)
        return self._next(request, (ToolCall("c0", "read", {"page": 7}),))

    def _next(self, request: ModelRequest, calls: Sequence[ToolCall]) -> ModelResponse:
        """The call after the one whose result is shown last; after all of them an answer."""
        seen = [message for message in request.messages if message.role == "tool"]
        last = max((int(str(message.tool_call_id)[1:]) for message in seen), default=-1)
        if last + 1 < len(calls):
            return ModelResponse(tool_calls=(calls[last + 1],), usage=used(request))
        return ModelResponse(f"Done: {seen[-1].content[:10]}", usage=used(request))

    def _count(self, who: str, request: ModelRequest) -> None:
        said = "\n".join(f"{message.role} {message.tool_call_id} {message.content}" for message in request.messages)
        self.asked[f"{who}\n{said}"] += 1

    def effects(self) -> tuple[set[str], int]:
        """What is the same in all runs: what was done at all, and how often money left."""
        return set(self.did), self.did["pay 5"]

    def settle(self, doubt: Mapping[str, Any]) -> tuple[str, Any]:
        """A human looks at the account."""
        if not self.did["pay 5"]:
            return "not-happened", None
        return "happened", "paid 5"


async def scenario(host: Host) -> Any:
    """Submit, and approve whatever is asked."""
    task = (await host.submit("agent/chief", "Do it all.", budget=BUDGET)).id
    while not (found := await host.task(task)).state.terminal:
        for one in (await host.approvals(Query(where={"state": "open", "root": task}))).items:
            with suppress(InvalidTransition):
                await host.approve(one.id, by="ada")
        await asyncio.sleep(1.0)
    return found


def of(journal: Sequence[Event], type: str, kind: str | None = None) -> list[Mapping[str, Any]]:
    return [event.data for event in journal if event.type == type and kind in (None, event.data.get("kind"))]


@pytest.mark.timeout(120)
@virtual_time
async def test_an_agent_with_everything_ends_the_same_wherever_it_is_killed() -> None:
    world = World()
    asked: list[Counter[str]] = []
    policy = PolicySettings(rules=[PolicyRule(decision="ask", tool="pay", approvers=["ada"])])

    def effects() -> Any:
        asked.append(world.asked)
        return world.effects()

    runs = await crash_everywhere(
        world.app,
        scenario,
        effects=effects,
        decide=world.settle,
        loaded=Loaded(Settings(policy=policy)),
    )

    clean = runs[0]
    assert clean.answer[1] == "Done: page 1: wo"
    assert len(runs) > 60
    assert any(of(journal, "agent.compacted") for journal in clean.journals.values())
    for run, calls in zip(runs, asked, strict=True):
        check(run, calls)
    marked = [run for run in runs if any(of(journal, "usage.unknown") for journal in run.journals.values())]
    assert len(marked) >= sum(len(of(journal, "usage.reserved")) for journal in clean.journals.values())


def check(run: CrashRun, asked: Counter[str]) -> None:
    """No recorded model call was paid twice, and the books are right."""
    journals = list(run.journals.values())
    answered = sum(len(of(journal, "step.done", "think")) for journal in journals)
    unknown = [data for journal in journals for data in of(journal, "usage.unknown")]
    reserved = [data for journal in journals for data in of(journal, "usage.reserved")]
    where = f"killed {'after' if run.after else 'before'} write {run.write}"
    assert answered <= sum(asked.values()) <= answered + len(unknown), where
    assert sum(count - 1 for count in asked.values()) <= len(unknown) <= 1, where
    assert len(reserved) == answered + len(unknown), where
    for task, journal in run.journals.items():
        assert len(of(journal, "approval.used")) <= 1, where
        history = History()
        history.absorb(journal)
        spent = history.ledger.total
        thought = [data["result"]["usage"] for data in of(journal, "step.done", "think")]
        below = [data["spent"] for data in of(journal, "child.ended")]
        lost = of(journal, "usage.unknown")
        assert spent.requests == len(thought) + len(lost) + sum(data["requests"] for data in below), where
        tokens = sum(usage["input_tokens"] + usage["output_tokens"] for usage in thought)
        assert spent.tokens == tokens + sum(data["tokens"] for data in [*lost, *below]), where
        assert all(data["tokens"] > SETTINGS["max_tokens"] for data in lost), task
