"""The MCP server over HTTP, asked by the SDK's own client in both eras."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import MCPError
from mcp.types import ElicitResult

from opspawn.contracts.store import Query
from opspawn.errors import ConfigError, NotFound
from opspawn.host import Host

from ._plain import Plain
from ._served import MODES, client_of, make_folder, serving, text_of

both = pytest.mark.parametrize("mode", MODES)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    async with serving(make_folder(tmp_path)) as running:
        yield running


async def until_noted(folder: Path, line: str) -> None:
    for _ in range(2000):
        notes = folder / "notes.txt"
        if notes.exists() and line in notes.read_text().splitlines():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{line!r} was not noted")


def answering(said: dict[str, Any] | None, action: str = "accept", seen: list[Any] | None = None) -> Any:
    async def answer(context: Any, params: Any) -> ElicitResult:
        if seen is not None:
            seen.append(params)
        return ElicitResult(action=action, content=said)  # type: ignore[arg-type]

    return answer


async def test_agents_workflows_and_chosen_tools_are_listed(host: Host) -> None:
    async with client_of(host) as client:
        listed = (await client.list_tools()).tools

    by_name = {tool.name: tool for tool in listed}
    assert list(by_name) == [
        *("ask_echo", "ask_namer", "ask_painter", "ask_sleeper", "run_triage", "add", "pay"),
        "opspawn_result",
    ]
    assert by_name["ask_echo"].description == "Says it again."
    assert by_name["run_triage"].input_schema["required"] == ["report"]
    hints = by_name["add"].annotations
    assert hints is not None
    assert hints.read_only_hint


@both
async def test_an_agent_is_asked_and_answers_with_progress_on_the_way(host: Host, mode: str) -> None:
    heard: list[str | None] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(message)

    async with client_of(host, mode) as client:
        result = await client.call_tool("ask_echo", {"message": "hello"}, progress_callback=hear)

    assert text_of(result) == "you said: hello"
    assert not result.is_error
    assert "half way 1/2" in heard


async def test_a_workflow_and_a_tool_are_run_as_tasks(host: Host) -> None:
    async with client_of(host) as client:
        ran = await client.call_tool("run_triage", {"report": "it burns"})
        sum_ = await client.call_tool("add", {"a": 2, "b": 3})

    assert text_of(ran) == "you said: it burns"
    assert text_of(sum_) == "5"
    tasks = await host.tasks(Query(where={"handler": "tool/call"}, limit=10))
    assert [task.labels["mcp"] for task in tasks.items] == ["mcp"]


async def test_calls_with_the_same_conversation_share_a_session(host: Host) -> None:
    async with client_of(host) as client:
        for _ in range(2):
            await client.call_tool("ask_echo", {"message": "hello", "conversation": "c1"})

    tasks = await host.tasks(Query(where={"session": "c1"}, limit=10))
    assert len(tasks.items) == 2


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("nothing", {}, "There is no tool 'nothing'"),
    ("ask_echo", {}, "ask_echo needs a message"),
    ("ask_echo", {"message": "a", "mesage": "b"}, "ask_echo has no argument 'mesage'"),
    ("ask_echo", {"message": "a", "conversation": "a b/c"}, "session"),
    ("run_triage", {}, "inputs.report: is missing"),
    ("run_triage", {"report": 1}, "inputs.report: must be a string"),
    ("add", {"a": "x", "b": 1}, "invalid_input"),
    ("opspawn_result", {"task": "t-000000000000000000000000"}, "There is no task"),
    ("opspawn_result", {}, "task is a text"),
]


async def test_wrong_input_is_told_in_words_that_a_model_can_mend(host: Host) -> None:
    async with client_of(host) as client:
        results = [(await client.call_tool(tool, arguments), words) for tool, arguments, words in WRONG]

    assert [words for result, words in results if not result.is_error or words not in text_of(result)] == []


@both
async def test_an_approval_is_asked_of_the_human_at_the_client(host: Host, mode: str, tmp_path: Path) -> None:
    seen: list[Any] = []
    asking = answering({"decision": "approve"}, seen=seen)
    async with client_of(host, mode, elicitation_callback=asking) as client:
        result = await client.call_tool("pay", {"amount": 5})

    assert result.structured_content == {"paid": 5}
    assert "call the tool pay" in seen[0].message
    assert (tmp_path / "notes.txt").read_text() == "paid 5\n"
    (asked,) = (await host.approvals(Query(limit=10))).items
    assert asked.answer is not None
    assert asked.answer.by == "mcp"


@pytest.mark.parametrize("said", [("accept", {"decision": "deny", "reason": "too much"}), ("decline", None)])
async def test_what_the_human_denies_is_not_done(host: Host, tmp_path: Path, said: Any) -> None:
    async with client_of(host, elicitation_callback=answering(said[1], said[0])) as client:
        result = await client.call_tool("pay", {"amount": 5})

    assert result.is_error
    assert "denied" in text_of(result)
    assert not (tmp_path / "notes.txt").exists()


@both
async def test_questions_are_answered_by_forms(host: Host, mode: str) -> None:
    async with client_of(host, mode, elicitation_callback=answering({"answer": "blue"})) as client:
        colour = await client.call_tool("ask_painter", {"message": "paint"})
        name = await client.call_tool("ask_namer", {"message": "name"})

    assert (text_of(colour), text_of(name)) == ("blue", "blue")


@both
async def test_a_client_that_cannot_ask_is_told_the_task_and_how_to_decide(host: Host, mode: str) -> None:
    async with client_of(host, mode) as client:
        waiting = await client.call_tool("pay", {"amount": 5})
        (asked,) = (await host.approvals(Query(limit=10))).items
        await host.approve(asked.id, by="ann")
        result = await client.call_tool("opspawn_result", {"task": asked.task})

    assert f"opspawn approvals approve {asked.id}" in text_of(waiting)
    assert asked.task in text_of(waiting)
    assert result.structured_content == {"paid": 5}


async def test_a_form_that_is_dismissed_leaves_the_question_open(host: Host) -> None:
    async with client_of(host, elicitation_callback=answering(None, "cancel")) as client:
        result = await client.call_tool("pay", {"amount": 5})

    (asked,) = (await host.approvals(Query(limit=10))).items
    assert asked.state == "open"
    assert asked.task in text_of(result)


async def test_a_call_that_takes_long_is_answered_with_its_task(tmp_path: Path) -> None:
    async with serving(make_folder(tmp_path), **{"plugins.mcp.serve.answer_within_s": 0.2}) as host:
        async with client_of(host) as client:
            result = await client.call_tool("ask_sleeper", {"message": "sleep"})

        (task,) = (await host.tasks(Query(where={"handler": "agent/sleeper"}, limit=10))).items
        assert f"Its task is {task.id}; call opspawn_result" in text_of(result)
        assert not task.state.terminal
        await host.cancel(task.id)


@both
async def test_a_call_that_the_client_takes_back_ends_its_task(host: Host, mode: str, tmp_path: Path) -> None:
    async with client_of(host, mode) as client:
        calling = asyncio.ensure_future(client.call_tool("ask_sleeper", {"message": "sleep"}))
        await until_noted(tmp_path, "asleep")
        calling.cancel()
        await until_noted(tmp_path, "woken")

    (task,) = (await host.tasks(Query(where={"handler": "agent/sleeper"}, limit=10))).items
    assert (await host.wait(task.id, 20)).state == "cancelled"


async def test_a_server_that_stops_leaves_what_runs_to_be_gone_on_with(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    async with serving(folder, **{"worker.drain_s": 0.1}) as host:
        async with client_of(host, "legacy") as client:
            calling = asyncio.ensure_future(client.call_tool("ask_sleeper", {"message": "sleep"}))
            await until_noted(folder, "asleep")
            await host.transports[0].stop()
            await asyncio.gather(calling, return_exceptions=True)
        (task,) = (await host.tasks(Query(where={"handler": "agent/sleeper"}, limit=10))).items
        assert not task.state.terminal
        await host.cancel(task.id)


async def test_journals_and_sessions_are_resources(host: Host) -> None:
    async with client_of(host) as client:
        await client.call_tool("ask_echo", {"message": "hello", "conversation": "c1"})
        uris = [resource.uri for resource in (await client.list_resources()).resources]
        templates = [one.uri_template for one in (await client.list_resource_templates()).resource_templates]
        task = next(uri for uri in uris if uri.startswith("opspawn://tasks/"))
        journal = await client.read_resource(f"{task}/journal")
        session = await client.read_resource("opspawn://sessions/c1")
        with pytest.raises(MCPError, match="There is no task"):
            await client.read_resource("opspawn://tasks/nothing")

    events = json.loads(journal.contents[0].text)["events"]  # type: ignore[union-attr]
    assert events[-1]["type"] == "task.succeeded"
    assert json.loads(session.contents[0].text)["sessionId"] == "c1"  # type: ignore[union-attr]
    assert "opspawn://tasks/{task}/journal" in templates


KEYS = """
[plugins.mcp.serve.keys.editor]
token = "editor-0123456789"
tools = ["ask_*"]

[plugins.mcp.serve.keys.other]
token = "other-0123456789"
scopes = ["call"]
"""


@pytest.fixture
async def locked(tmp_path: Path) -> AsyncIterator[Host]:
    async with serving(make_folder(tmp_path, KEYS)) as running:
        yield running


@both
@pytest.mark.parametrize("key", [None, "editor", "editor-0123456789x"])
async def test_without_a_key_that_fits_nothing_is_answered(locked: Host, mode: str, key: str | None) -> None:
    with pytest.raises(BaseExceptionGroup) as raised:
        async with client_of(locked, mode, key) as client:
            await client.list_tools()

    assert raised.group_contains((MCPError, httpx2.HTTPStatusError))


async def test_a_key_opens_its_tools_alone_and_names_its_holder(locked: Host) -> None:
    async with client_of(locked, "auto", "editor-0123456789") as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        refused = await client.call_tool("add", {"a": 1, "b": 2})
        await client.call_tool("ask_echo", {"message": "hello"})

    assert names == ["ask_echo", "ask_namer", "ask_painter", "ask_sleeper", "opspawn_result"]
    assert refused.is_error
    (task,) = (await locked.tasks(Query(limit=10))).items
    assert task.labels["mcp"] == "mcp/editor"


async def test_a_key_without_a_scope_neither_reads_nor_answers(locked: Host) -> None:
    asking = answering({"decision": "approve"})
    async with client_of(locked, "auto", "other-0123456789", elicitation_callback=asking) as client:
        result = await client.call_tool("pay", {"amount": 5})
        with pytest.raises(MCPError, match="does not have the scope 'read'"):
            await client.list_resources()

    assert "opspawn approvals approve" in text_of(result)


async def test_the_result_of_another_client_is_not_told(locked: Host) -> None:
    async with client_of(locked, "auto", "editor-0123456789") as client:
        await client.call_tool("ask_echo", {"message": "secret"})
    (task,) = (await locked.tasks(Query(limit=10))).items

    async with client_of(locked, "auto", "other-0123456789") as client:
        result = await client.call_tool("opspawn_result", {"task": task.id})

    assert text_of(result).startswith("There is no task")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Content-Type": "text/plain"}, 400),
    ],
)
async def test_no_web_page_reaches_in(host: Host, headers: dict[str, str], status: int) -> None:
    said = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    usual = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.post(host.transports[0].address, json=said, headers={**usual, **headers})

    assert answer.status_code == status


async def test_a_body_too_large_is_refused(tmp_path: Path) -> None:
    small = {"plugins.mcp.serve.max_body_bytes": 2000}
    async with serving(make_folder(tmp_path), **small) as host, httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.post(host.transports[0].address, json={"a": "x" * 3000})

    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("overrides", "config", "words"),
    [
        ({"plugins.mcp.serve.host": "0.0.0.0"}, "", "is no loopback address, and there are no keys"),
        ({}, '[plugins.mcp.serve.keys.x]\ntoken = "short"', "fewer than 16"),
        ({"plugins.mcp.serve.export": ["nowhere/*"]}, "", "names no server that is configured"),
        ({"plugins.mcp.serve.export": ["nowhere"]}, "", "names no tools"),
    ],
)
async def test_what_cannot_be_served_is_told_at_the_start(
    tmp_path: Path, overrides: dict[str, Any], config: str, words: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        async with serving(make_folder(tmp_path, config), **overrides):
            pass

    assert words in str(raised.value)


async def test_a_tool_that_is_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no tool 'ad'"):
        async with serving(make_folder(tmp_path), **{"plugins.mcp.serve.tools": ["ad"]}):
            pass


def exporting(tmp_path: Path, **settings: Any) -> Any:
    """A server of the fleet, offered on; the app serves nothing else."""
    server = Plain(tmp_path, "files", tools=["read", "write", "erase"])
    table = server.settings(pin="off", **settings)
    overrides = {f"plugins.mcp.servers.files.{name}": value for name, value in table.items()}
    return server, {**overrides, "plugins.mcp.serve.export": ["files/*"], "policy.once": "allow"}


@both
async def test_the_fleet_is_offered_on_under_its_own_rules(tmp_path: Path, mode: str) -> None:
    server, overrides = exporting(tmp_path, deny=["erase"], ask=["write"], effects={"read": "read"})
    asking = answering({"decision": "deny", "reason": "no"})
    running = serving(make_folder(tmp_path), **overrides)
    async with running as host, client_of(host, mode, elicitation_callback=asking) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        read = await client.call_tool("files__read", {"path": "a"})
        write = await client.call_tool("files__write", {"path": "a"})
        erase = await client.call_tool("files__erase", {})

    assert [name for name in names if name.startswith("files__")] == ["files__read", "files__write"]
    assert json.loads(text_of(read)) == {"path": "a"}
    assert write.is_error
    assert "no" in text_of(write)
    assert "There is no tool" in text_of(erase)
    assert server.calls() == [["read", {"path": "a"}]]


async def test_a_server_that_is_not_granted_to_clients_is_not_offered_on(tmp_path: Path) -> None:
    _, overrides = exporting(tmp_path, agents=["helper"])
    async with serving(make_folder(tmp_path), **overrides) as host, client_of(host) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]

    assert not [name for name in names if name.startswith("files__")]
