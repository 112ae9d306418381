"""`opspawn agents`, `sessions` and `workflows`: what they print, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from opspawn.cli import main

APP = """
from opspawn import Agent, App
from opspawn.contracts.planner import PlannerResult
from opspawn.testing import ScriptedModel


class Echo:
    async def run(self, context):
        return PlannerResult(context.input)


app = App(agents=[Agent("echo", model=ScriptedModel([]), planner=Echo())])
"""
FLOW = """
opspawn: "1"
name: greet
description: Says hello.
inputs:
  who: {type: string}
steps:
  say: {uses: agent/echo, with: {input: "${{ inputs.who }}"}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an app in which an agent has run once."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cliapp.py").write_text(APP)
    (tmp_path / "opspawn.toml").write_text('app = "cliapp.py:app"\n')
    (tmp_path / "flow.yaml").write_text(FLOW)
    assert invoke("workflows", "list").exit_code == 0
    return tmp_path


def invoke(*args: str) -> Result:
    return CliRunner().invoke(main, args, prog_name="opspawn")


def told(*args: str) -> Any:
    result = invoke(*args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def refused(*args: str) -> str:
    result = invoke(*args)
    assert result.exit_code != 0
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


def test_agents_of_the_app_and_remote_ones_are_listed_and_shown() -> None:
    register = ["agents", "register", "far", "--name", "Far", "--endpoint", "https://agents.example/", "--capability"]
    assert told(*register, "bake")["agentId"] == "far"

    assert {one["agentId"]: (one["local"], one["state"]) for one in told("agents", "list")} == {
        "echo": (True, "idle"),
        "far": (False, "unknown"),
    }
    assert [one["agentId"] for one in told("agents", "list", "--capability", "bake")] == ["far"]
    assert invoke("agents", "list").stdout.splitlines()[0].split("\t") == ["ID", "NAME", "OF", "STATE", "CAPABILITIES"]
    assert told("agents", "show", "far")["contactEndpoint"] == "https://agents.example/"
    assert "Far" in invoke("agents", "show", "far").stdout

    assert invoke("agents", "deregister", "far").exit_code == 0
    assert [event["type"] for event in told("agents", "history", "far")] == ["agent.registered", "agent.deregistered"]


def test_an_agent_is_paused_and_resumed() -> None:
    assert told("agents", "pause", "echo", "--reason", "lunch")["details"] == {"reason": "lunch"}
    assert invoke("agents", "state", "echo").stdout == "paused\n"
    assert told("agents", "resume", "echo")["state"] == "idle"
    assert "nothing to resume" in refused("agents", "resume", "echo")
    assert invoke("agents", "history", "echo").stdout.splitlines()[2].split("\t")[1:3] == ["state", "paused"]


def test_a_state_is_reported_with_its_details_and_time() -> None:
    invoke("agents", "register", "far", "--name", "Far", "--endpoint", "https://agents.example/")
    report = ["agents", "state", "far", "IDLE", "--details", '{"n": 1}', "--timestamp", "2026-01-01T00:00:00Z"]

    assert told(*report) == {
        "agentId": "far",
        "state": "idle",
        "details": {"n": 1},
        "timestamp": "2026-01-01T00:00:00.000000Z",
        "late": False,
    }
    assert told("agents", "state", "far", "active", "--timestamp", "2025-01-01T00:00:00Z")["late"] is True


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["agents", "show", "nobody"], "There is no agent 'nobody'."),
        (["agents", "state", "echo", "banana"], "An agent has no state 'banana'."),
        (["agents", "state", "echo", "active"], "follows from its tasks"),
        (["agents", "state", "echo", "error", "--details", "{"], "--details is not JSON"),
        (["agents", "state", "echo", "error", "--details", "[]"], "--details must be a JSON object"),
        (["agents", "register", "far", "--name", "Far", "--endpoint", "nowhere"], "contactEndpoint"),
        (["sessions", "show", "s-nobody"], "There is no session 's-nobody'."),
        (["sessions", "start", "nobody"], "There is no agent 'nobody'."),
        (["workflows", "show", "nobody"], "There is no workflow 'nobody'."),
        (["workflows", "create", "nowhere.yaml"], "There is no file nowhere.yaml."),
        (["workflows", "trigger", "nobody"], "There is no workflow 'nobody'."),
    ],
)
def test_what_does_not_do_is_one_line(args: list[str], words: str) -> None:
    assert words in refused(*args)


def test_a_session_is_started_updated_and_listed() -> None:
    id = invoke("sessions", "start", "echo", "--workflow", "greet", "--metadata", '{"a": 1}').stdout.strip()
    assert id.startswith("s-")
    assert told("sessions", "show", id)["metadata"] == {"a": 1}

    changed = told("sessions", "update", "echo", id, "--status", "completed", "--result", '"fine"')
    assert (changed["status"], changed["result"]) == ("completed", "fine")
    assert [one["sessionId"] for one in told("sessions", "list", "--status", "completed")] == [id]
    assert told("sessions", "list", "--agent", "nobody") == []
    assert "has ended" in refused("sessions", "update", "echo", id, "--status", "processing")


def test_a_workflow_is_stored_and_triggered() -> None:
    made = told("workflows", "create", "flow.yaml")
    assert (made["workflowId"], len(made["versions"])) == ("greet", 1)
    assert told("workflows", "list")[0]["digest"] == made["digest"]
    assert json.loads(invoke("workflows", "show", "greet").stdout) == made["definition"]

    task = told("workflows", "trigger", "greet", '{"who": "Ada"}', "--agent", "echo")
    assert (task["handler"], task["state"], task["agent"]) == ("workflow/greet", "queued", "echo")
    assert "inputs.whom" in refused("workflows", "trigger", "greet", '{"whom": "Ada"}')


def test_a_workflow_with_mistakes_is_not_stored(folder: Path) -> None:
    (folder / "flow.yaml").write_text(FLOW.replace("agent/echo", "agent/nobody"))

    assert "there is no agent 'nobody'" in refused("workflows", "create", "flow.yaml")
    assert told("workflows", "list") == []
