"""Tools of MCP servers as steps of workflows and of plans, by name, under the same policy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opspawn import Agent, App
from opspawn.contracts.model import ModelRequest
from opspawn.contracts.store import TaskState
from opspawn.errors import OpspawnError
from opspawn.testing import ScriptedModel
from opspawn_mcp.fleet import Fleet

from ._hosts import asked_by, running
from ._plain import Plain, approve, config_of

MakePlain = Callable[..., Plain]
PATIENCE_S = 40.0
WORKFLOW = """
opspawn: "1"
name: nightly
inputs:
  text: {type: string}
steps:
  first:
    uses: tool/mcp:plain/echo
    with: {text: "${{ inputs.text }}"}
  second:
    uses: tool/mcp:plain/echo
    needs: [first]
    with: {text: "${{ steps.first.output }} again"}
output: "${{ steps.second.output }}"
"""


async def pinned(folder: Path, server: Plain) -> None:
    fleet = Fleet(config_of(folder, {server.name: server.settings()}))
    await approve(fleet, server.name)
    await fleet.aclose()


def write(folder: Path, server: Plain, workflow: str = WORKFLOW, **more: Any) -> None:
    (folder / "nightly.yaml").write_text(workflow)
    lines = [f"{key} = {json.dumps(value)}" for key, value in server.settings(**more).items()]
    lines = ["[worker]", "poll_s = 0.05", f"[plugins.mcp.servers.{server.name}]", *lines]
    (folder / "opspawn.toml").write_text("\n".join(lines))


def app(folder: Path) -> App:
    return App(workflows=[folder / "nightly.yaml"])


async def test_a_step_calls_a_tool_of_a_server_by_its_name(tmp_path: Path, plain: MakePlain) -> None:
    server = plain(tools=["echo"])
    await pinned(tmp_path, server)
    write(tmp_path, server)
    async with running(tmp_path, app(tmp_path)) as host:
        ended = await host.dispatch("workflow/nightly", {"text": "hi"}, wait_s=PATIENCE_S)

    assert ended.state is TaskState.SUCCEEDED, ended.error
    assert len(server.calls()) == 2
    assert server.calls()[0] == ["echo", {"text": "hi"}]


async def test_a_step_is_under_the_policy_of_the_server_and_in_the_name_of_the_workflow(
    tmp_path: Path, plain: MakePlain
) -> None:
    server = plain(tools=["echo"])
    await pinned(tmp_path, server)
    write(tmp_path, server)
    rule = '[[plugins.mcp.servers.plain.rules]]\ntool = "echo"\nagent = "nightly"\ndecision = "ask"\n'
    with (tmp_path / "opspawn.toml").open("a") as file:
        file.write(f"\n{rule}")
    async with running(tmp_path, app(tmp_path)) as host:
        task = await host.submit("workflow/nightly", {"text": "hi"})
        for _ in range(2):
            asked = await asked_by(host, approvals=True)
            await host.approve(asked.id, by="ann")
        ended = await host.wait(task.id, PATIENCE_S)

    assert ended.state is TaskState.SUCCEEDED
    assert asked.question.text.startswith("May nightly call the tool plain__echo")
    assert len(server.calls()) == 2


async def test_what_a_server_does_not_grant_is_not_called(tmp_path: Path, plain: MakePlain) -> None:
    server = plain(tools=["echo"])
    await pinned(tmp_path, server)
    write(tmp_path, server, agents=["clerk"])
    async with running(tmp_path, app(tmp_path)) as host:
        ended = await host.dispatch("workflow/nightly", {"text": "hi"}, wait_s=PATIENCE_S)

    assert ended.state is TaskState.FAILED
    assert "There is no tool 'mcp:plain/echo'" in (ended.error or {})["message"]
    assert server.calls() == []


@pytest.mark.parametrize(
    ("uses", "words"),
    [
        ("tool/mcp:other/echo", "names no MCP server that is configured"),
        ("tool/mcp:plain", "names no tools"),
        ("tool/mcp:plain/*", "names no tool and no agent"),
        ("tool/nothing:plain/echo", "nothing"),
    ],
)
async def test_a_step_that_cannot_be_is_refused_at_the_start(
    tmp_path: Path, plain: MakePlain, uses: str, words: str
) -> None:
    write(tmp_path, plain(tools=["echo"]), WORKFLOW.replace("tool/mcp:plain/echo", uses, 1))
    with pytest.raises(OpspawnError) as raised:
        async with running(tmp_path, app(tmp_path)):
            pass

    assert words in f"{raised.value} {getattr(raised.value, 'faults', '')}"


async def test_a_plan_calls_tools_of_a_server_by_name(tmp_path: Path, plain: MakePlain) -> None:
    pytest.importorskip("opspawn_planner_plan")
    server = plain(tools=["echo"])
    await pinned(tmp_path, server)
    write(tmp_path, server)
    seen: list[str] = []

    def answer(request: ModelRequest) -> Any:
        seen.append("\n".join(str(message.content) for message in request.messages))
        if len(seen) == 1:
            return json.dumps({"steps": [{"id": "say", "tool": "plain__echo", "inputs": {"text": "planned"}}]})
        return "It is done."

    model = ScriptedModel(answer)
    agent = Agent("planner", model=model, planner="plan-execute", tools=["mcp:plain/*"])
    (tmp_path / "opspawn.toml").write_text(
        (tmp_path / "opspawn.toml").read_text() + '\n[plugins.plan-execute]\nmode = "text"\n'
    )
    async with running(tmp_path, App(agents=[agent])) as host:
        ended = await host.dispatch("agent/planner", "go", wait_s=PATIENCE_S)

    assert ended.state is TaskState.SUCCEEDED, ended.error
    assert "plain__echo [once]" in seen[0]
    assert server.calls() == [["echo", {"text": "planned"}]]
