"""Servers that want a model asked: by the run that calls them, as the operator says, and within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from opspawn import Agent, App, tool
from opspawn.agentkit import FunctionModel
from opspawn.agentkit.questions import make_question
from opspawn.config import load_settings
from opspawn.contracts.model import ModelRequest, ModelResponse, ToolCall, Usage
from opspawn.contracts.plugins import ModelPlugin
from opspawn.contracts.run_events import ModelAnswered, RunEnded
from opspawn.contracts.store import Query
from opspawn.contracts.tool import ToolContext
from opspawn.host import Host
from opspawn.plugins import Plugins
from opspawn.plugins.status import Found
from opspawn.testing import LoopPlanner, ScriptedModel
from opspawn_mcp import ServerConfig
from opspawn_mcp.faults import ServerFault
from opspawn_mcp.fleet import Fleet

from ._hosts import asked_by
from ._plain import config_of
from ._shelf import over_http, table

CALL = {"tool": "shelf__ask", "source": "mcp:shelf/*", "arguments": {"text": "Sum up."}}
PATIENCE_S = 30.0
both = pytest.mark.parametrize("mode", ["legacy", "modern"])


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with over_http() as found:
        yield found


class Acme:
    """A provider that remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[ModelRequest] = []

    def plugins(self) -> Plugins:
        def answer(request: ModelRequest) -> ModelResponse:
            self.requests.append(request)
            return ModelResponse("A summary.", usage=Usage(100, 20, requests=1))

        record = ModelPlugin("acme", lambda _: FunctionModel(answer), network=False)
        entry = EntryPoint("acme", "acme", "opspawn")
        return Plugins([*Plugins.load()._found, Found(entry, "acme", "1", records=[("model", record)])])


@asynccontextmanager
async def running(
    folder: Path, url: str, acme: Acme, mode: str = "modern", app: App | None = None, **sampling: Any
) -> AsyncIterator[Host]:
    told = table(url, mode, effects={"*": "idempotent"}, timeout_s=5, sampling={"model": "acme:small", **sampling})
    overrides = {f"plugins.mcp.servers.shelf.{key}": value for key, value in told.items()}
    overrides |= {"worker.poll_s": 0.05, "worker.drain_s": 0.2}
    loaded = load_settings(cwd=folder, overrides=overrides)
    async with Host.open(app or App(), loaded=loaded, plugins=acme.plugins()) as host:
        yield host


@both
async def test_a_human_sees_what_a_server_wants_asked_and_the_model_is_asked_by_the_run(
    tmp_path: Path, url: str, mode: str
) -> None:
    acme = Acme()
    async with running(tmp_path, url, acme, mode) as host:
        task = await host.submit("tool/call", CALL)
        asked = await asked_by(host, approvals=True)
        assert acme.requests == []
        await host.approve(asked.id, by="ann")
        ended = await host.wait(task.id, PATIENCE_S)
        done = [event.data for event in await host.journal(task.id) if event.type == "step.done"]

    call = asked.question.call or {}
    assert "The MCP server 'shelf' wants it" in asked.question.text
    assert (call["act"], call["name"]) == ("model", "acme:small")
    assert [one["content"] for one in call["arguments"]["messages"]] == ["You are the server's.", "Sum up."]
    assert ended.result == "acme:small: A summary. (endTurn)"
    [request] = acme.requests
    assert [(one.role, one.content) for one in request.messages] == [
        ("system", "You are the server's."),
        ("user", "Sum up."),
    ]
    assert (request.settings["max_tokens"], list(request.tools)) == (50, [])
    assert [one["name"] for one in done if one["kind"] == "think"] == ["sampling:shelf"]


async def test_who_approves_may_change_the_words_or_say_no(tmp_path: Path, url: str) -> None:
    acme = Acme()
    async with running(tmp_path, url, acme) as host:
        first = await host.submit("tool/call", CALL)
        asked = await asked_by(host, approvals=True)
        mine = {**(asked.question.call or {})["arguments"], "messages": [{"role": "user", "content": "Be short."}]}
        await host.approve(asked.id, by="ann", arguments=mine)
        await host.wait(first.id, PATIENCE_S)
        second = await host.submit("tool/call", CALL)
        await host.deny((await asked_by(host, approvals=True)).id, by="ann", reason="No.")
        ended = await host.wait(second.id, PATIENCE_S)

    assert [[one.content for one in request.messages] for request in acme.requests] == [["Be short."]]
    assert "ann said no. No." in (ended.error or {})["message"]


@both
async def test_an_approval_and_an_answer_survive_the_process_and_nothing_is_paid_twice(
    tmp_path: Path, url: str, mode: str
) -> None:
    acme = Acme()
    async with running(tmp_path, url, acme, mode) as host:
        task = await host.submit("tool/call", CALL)
        asked = await asked_by(host, approvals=True)
    async with running(tmp_path, url, acme, mode) as host:
        await host.approve(asked.id, by="ann")
        ended = await host.wait(task.id, PATIENCE_S)
        approvals = (await host.approvals(Query(limit=5))).items

    assert ended.result == "acme:small: A summary. (endTurn)"
    assert [one.id for one in approvals] == [asked.id]
    assert len(acme.requests) == 1


async def test_the_budget_of_a_run_bounds_what_a_server_may_have_asked(tmp_path: Path, url: str) -> None:
    acme = Acme()
    model = ScriptedModel([*(ToolCall(str(n), "shelf__ask", {"text": f"{n}"}) for n in range(3)), "done"])
    agent = Agent("helper", model=model, planner=LoopPlanner(), tools=["mcp:shelf/ask"])
    async with running(tmp_path, url, acme, app=App(agents=[agent]), policy="allow", calls_per_run=2) as host:
        task = await host.submit("agent/helper", "go")
        await host.wait(task.id, PATIENCE_S)
        events = [event async for event in host.stream(task.id)]

    results = [one.content for one in model.requests[-1].messages if one.role == "tool"]
    assert [one.startswith("acme:small: A summary.") for one in results] == [True, True, False]
    assert "The budget of sampling:shelf is used up: 2 calls in a run" in results[2]
    asides = [one for one in events if isinstance(one, ModelAnswered) and one.purpose == "sampling:shelf"]
    assert [one.usage.input_tokens for one in asides] == [100, 100]
    own = [one for one in events if isinstance(one, ModelAnswered) and one.purpose is None]
    [end] = [one for one in events if isinstance(one, RunEnded)]
    assert end.usage.input_tokens == 200 + sum(one.usage.input_tokens for one in own)


async def test_tokens_are_bounded_too_and_what_was_used_before_a_crash_counts(tmp_path: Path, url: str) -> None:
    acme = Acme()
    limit = {"policy": "allow", "tokens_per_run": 200}

    def app(*more: Any) -> tuple[App, ScriptedModel]:
        model = ScriptedModel([*more, "done"])
        return App(agents=[Agent("helper", model=model, planner=LoopPlanner(), tools=["mcp:shelf/ask", pause])]), model

    @tool(effect="idempotent")
    async def pause(context: ToolContext) -> str:
        """Waits for a word."""
        assert context.ask is not None
        return str((await context.ask(make_question("Go on?"))).value)

    first, _ = app(ToolCall("1", "shelf__ask", {"text": "1"}), ToolCall("2", "pause", {}))
    async with running(tmp_path, url, acme, app=first, **limit) as host:
        task = await host.submit("agent/helper", "go")
        while not (found := (await host.questions(Query(limit=5))).items):  # noqa: ASYNC110  # no event tells it
            await asyncio.sleep(0.01)
        [question] = found
    second, model = app(ToolCall("3", "shelf__ask", {"text": "2"}))
    async with running(tmp_path, url, acme, app=second, **limit) as host:
        await host.answer(question.id, "yes")
        await host.wait(task.id, PATIENCE_S)

    assert "used up: 200 tokens in a run" in [one.content for one in model.requests[-1].messages][-1]
    assert len(acme.requests) == 1


async def test_a_policy_of_the_app_decides_too(tmp_path: Path, url: str) -> None:
    acme = Acme()
    (tmp_path / "opspawn.toml").write_text(
        '[[policy.rules]]\nmodel = "acme:*"\ndecision = "deny"\nreason = "Not this one."\n'
    )
    async with running(tmp_path, url, acme, policy="allow") as host:
        ended = await host.wait((await host.submit("tool/call", CALL)).id, PATIENCE_S)

    assert "Not this one." in (ended.error or {})["message"]
    assert acme.requests == []


@pytest.mark.parametrize(
    ("more", "arguments", "words"),
    [
        ({"max_bytes": 256}, {"text": "x" * 300}, "bytes; 1 to 256 are allowed"),
        ({"model": "nobody:small"}, {}, "No model was asked: "),
    ],
)
async def test_a_request_that_cannot_be_put_is_told_to_the_server(
    tmp_path: Path, url: str, more: dict[str, Any], arguments: dict[str, Any], words: str
) -> None:
    async with running(tmp_path, url, Acme(), policy="allow", **more) as host:
        task = await host.submit("tool/call", {**CALL, "arguments": arguments})
        ended = await host.wait(task.id, PATIENCE_S)

    assert words in (ended.error or {})["message"]


@both
async def test_without_leave_or_without_a_run_no_model_is_asked(tmp_path: Path, url: str, mode: str) -> None:
    allowed = {"sampling": {"model": "acme:small", "policy": "allow"}}
    fleet = Fleet(config_of(tmp_path, {"off": table(url, mode), "on": table(url, mode, **allowed)}))
    try:
        with pytest.raises(ServerFault, match=r"off/ask: .*ampling"):
            await fleet.member("off").tool("ask").call({}, ToolContext("", "helper"))
        with pytest.raises(ServerFault, match="on/ask: No model can be asked: no run"):
            await fleet.member("on").tool("ask").call({}, ToolContext("", "helper"))
    finally:
        await fleet.aclose()


def test_sampling_needs_a_model() -> None:
    with pytest.raises(ValidationError, match="sampling"):
        ServerConfig.model_validate({"command": "true", "sampling": {"model": "gpt-5"}})
