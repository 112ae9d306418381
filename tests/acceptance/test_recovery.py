"""A server that is killed goes on where it was: nothing recorded is done twice, nothing is lost.

What was done twice is counted where it was done: the model server logs every request, every tool call writes a line.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ._process import ModelServer, Serve, json_lines, wait_for

QUICKSTART = Path(__file__).resolve().parents[2] / "examples" / "quickstart"
KILLS = {"sqlite": 10, "redis": 4}
#: So long, that work which waited for a lease to run out after a restart would not go on within this test: so
#: not a time is looked at, but what the worker waits for: nothing, and after three lost claims in a row the
#: start of a process of its own.
LEASE_S = 600.0
PATIENCE_S = 60.0
#: Of the model, per call. With the tools a run takes some 9 s undisturbed, more than all that ten kills can let pass.
LATENCY_S = 0.45
LONGEST_LIFE_S = 0.8

#: The quickstart's app with tools that take a moment and write down when they begin and end, outside our journal.
COUNTED = """
import asyncio, dataclasses, json, time, zlib
from pathlib import Path
import app as quickstart
from opspawn import Agent, App

LINES = Path(__file__).with_name("calls.jsonl")


class Counted:
    def __init__(self, inner):
        self._inner = inner
        self.name, self.description, self.parameters = inner.name, inner.description, inner.parameters
        self.effect, self.timeout_s = inner.effect, inner.timeout_s

    async def call(self, arguments, context):
        key = context.idempotency_key
        write(key, "began")
        await asyncio.sleep(0.05 + zlib.crc32(key.encode()) % 100 / 1000)
        value = await self._inner.call(arguments, context)
        write(key, "ended")
        return value


def write(key, what):
    with LINES.open("a") as file:
        file.write(json.dumps({"time": time.time(), "key": key, "what": what}) + "\\n")


def counted(agent):
    tools = [Counted(tool) for tool in agent.tools]
    return Agent(agent.name, tools=tools, instructions=agent.instructions, max_steps=agent.max_steps)


app = App(
    agents=[counted(quickstart.triage)],
    tools=[Counted(tool) for tool in quickstart.app.tools.values()],
    workflows=quickstart.app.workflows,
)
"""


@pytest.fixture
def folder(tmp_path: Path, store: str) -> Path:
    return helpdesk(tmp_path / "helpdesk")


def helpdesk(folder: Path) -> Path:
    """A copy of the quickstart, with tools that count."""
    shutil.copytree(QUICKSTART, folder, ignore=shutil.ignore_patterns("reports", ".opspawn", "__pycache__"))
    (folder / "counted.py").write_text(COUNTED)
    settings = (folder / "opspawn.toml").read_text().replace('app = "app:app"', 'app = "counted:app"')
    (folder / "opspawn.toml").write_text(f"{settings}\n[worker]\nlease_s = {LEASE_S}\n")
    return folder


def trigger(server: Serve) -> str:
    """Start the workflow as the README does; returns the task's id."""
    answer = server.post("/v1/opscore/agent/triage/workflow", {"workflowDefinitionId": "triage"})
    return str(answer["taskId"])


def conversation(request: dict[str, Any]) -> str:
    return json.dumps(request["messages"], sort_keys=True)


@dataclass
class Work:
    """What the world saw of a run: requests at the model server, lines of the tools; and when the server was killed."""

    model: ModelServer
    folder: Path
    kills: list[float] = field(default_factory=list)

    @property
    def signs(self) -> int:
        """Grows with whatever is done."""
        return len(self.model.requests) + len(self.calls)

    @property
    def calls(self) -> list[dict[str, Any]]:
        return json_lines(self.folder / "calls.jsonl")

    def kills_between(self, begin: float, end: float) -> int:
        return sum(begin <= kill <= end for kill in self.kills)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_server_killed_again_and_again_ends_with_the_same_report_and_repeats_nothing_recorded(
    folder: Path, tmp_path: Path, store: str
) -> None:
    """Work goes on at each restart, on SQLite before any lease ends; only calls that were in flight come twice."""
    undisturbed, conversations = run_undisturbed(helpdesk(tmp_path / "undisturbed"))
    seed = int(os.environ.get("RECOVERY_SEED") or random.SystemRandom().randrange(10**6))
    print(f"RECOVERY_SEED={seed}")
    chance = random.Random(seed)

    with ModelServer(folder / "script.py", latency_s=LATENCY_S) as model:
        work = Work(model, folder)
        task = kill_and_restart(work, chance, KILLS[store])
        with Serve(folder, model.env) as server:
            ended = server.settled(task, 60)
            journals = {id: server.journal(id) for id in family(server, task)}

    assert ended["state"] == "succeeded", ended["error"]
    assert (folder / "reports" / "triage.md").read_bytes() == undisturbed
    assert list(dict.fromkeys(map(conversation, model.requests))) == conversations
    check_model_calls(work, journals)
    check_tool_calls(work, journals)
    assert all(event["data"].get("attempt", 0) == 0 for journal in journals.values() for event in journal)


def kill_and_restart(work: Work, chance: random.Random, kills: int) -> str:
    """Start the workflow, and kill the server's whole group at random moments of it; returns the task's id."""
    task = ""
    for _ in range(kills):
        seen = work.signs
        with Serve(work.folder, work.model.env) as server:
            if task:
                wait_for(lambda seen=seen: work.signs > seen, "the work to go on after a restart", PATIENCE_S)
                print(f"went on {time.monotonic() - server.started:.2f} s after the start of the process")
            else:
                task = trigger(server)
                wait_for(lambda seen=seen: work.signs > seen, "the workflow to begin")
            time.sleep(chance.uniform(0.0, LONGEST_LIFE_S))
            server.kill()
            work.kills.append(time.time())
    return task


def run_undisturbed(folder: Path) -> tuple[bytes, list[str]]:
    """The report of a run that nobody kills, and its conversations with the model."""
    with ModelServer(folder / "script.py") as model, Serve(folder, model.env) as server:
        ended = server.settled(trigger(server))
        assert ended["state"] == "succeeded", ended["error"]
        conversations = [conversation(request) for request in model.requests]
    assert len(conversations) == len(set(conversations)) > 10
    return (folder / "reports" / "triage.md").read_bytes(), conversations


def family(server: Serve, root: str) -> list[str]:
    return [task["id"] for task in server.get(f"/v1/opscore/tasks?root={root}")["tasks"]]


def recorded(journals: dict[str, list[dict[str, Any]]], kinds: tuple[str, ...]) -> dict[str, float]:
    """When each step of some kinds was recorded, in epoch seconds, by idempotency key, in order."""
    times: dict[str, float] = {}
    for task, journal in journals.items():
        for event in journal:
            if event["type"] == "step.done" and event["data"]["kind"] in kinds:
                key = f"{task}/{event['data']['key']}"
                assert key not in times, f"{key} was recorded twice"
                times[key] = datetime.fromisoformat(event["time"]).timestamp()
    return times


def check_model_calls(work: Work, journals: dict[str, list[dict[str, Any]]]) -> None:
    """The agent thinks one thought after the other, so the n-th new conversation is the n-th recorded answer."""
    requests = work.model.requests
    distinct = list(dict.fromkeys(map(conversation, requests)))
    times = list(recorded(journals, ("think",)).values())
    assert len(times) == len(distinct)
    in_flight = 0
    for done, which in zip(times, distinct, strict=True):
        came = [request["time"] for request in requests if conversation(request) == which]
        assert came[-1] <= done, "a model call came again after its answer was recorded"
        assert len(came) <= 1 + work.kills_between(came[0], done), "a model call came again, and no kill had cut it off"
        in_flight += work.kills_between(came[0], done)
    print(
        f"{in_flight} of {len(work.kills)} kills fell into a model call; {len(requests)} requests, {len(distinct)} new"
    )
    assert in_flight or len(work.kills) < 10, "no kill fell into a model call"
    assert len(requests) <= len(distinct) + in_flight
    # What the server saw alone tells it too: once a conversation went on, no shorter one comes again.
    lengths = [len(request["messages"]) for request in requests]
    assert lengths == sorted(lengths)


def check_tool_calls(work: Work, journals: dict[str, list[dict[str, Any]]]) -> None:
    """A call whose result was recorded never begins again; one that a kill cut off does, under the same key."""
    calls = work.calls
    done = recorded(journals, ("act", "tool"))
    assert {call["key"] for call in calls} == set(done)
    for key, when in done.items():
        began = [call["time"] for call in calls if call["key"] == key and call["what"] == "began"]
        assert began[-1] <= when, f"{key} was called again after its result was recorded"
        assert len(began) <= 1 + work.kills_between(began[0], when), f"{key} was called twice without a kill"
    counts = Counter(call["key"] for call in calls if call["what"] == "began")
    print(f"{len(done)} tool calls, begun {counts.total()} times")
