"""The quickstart as its README tells it: a server, two requests, a report on disk, with no key and no network."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ._process import Serve, opspawn

QUICKSTART = Path(__file__).resolve().parents[2] / "examples" / "quickstart"
UNRECORDED = "Which biscuits go with tea?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, stores: str) -> Path:
    """A copy of the quickstart as a fresh clone has it, on each store."""
    copy = tmp_path_factory.mktemp("clone") / "quickstart"
    shutil.copytree(QUICKSTART, copy, ignore=shutil.ignore_patterns(".opspawn", "reports", "__pycache__"))
    return copy


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Serve]:
    """`opspawn serve` there, as the configuration says, on a free port."""
    with Serve(folder) as serve:
        yield serve


def test_the_server_is_alive_and_ready(server: Serve) -> None:
    assert server.get("/healthz") == {"status": "ok"}
    assert server.get("/readyz")["ready"] is True


def test_it_tells_its_agents_and_workflows(server: Serve) -> None:
    assert [agent["id"] for agent in server.get("/v1/agents")["agents"]] == ["helper", "triage"]
    assert server.get("/v1/opscore/workflows") == {"workflows": ["triage"]}


def test_the_agent_searches_the_handbook_and_answers(server: Serve) -> None:
    task = server.post("/v1/agents/helper/run", {"input": "What is your refund policy?", "waitS": 30})

    assert task["state"] == "succeeded", task
    assert "refund" in task["result"].lower()
    steps = [event["data"]["name"] for event in server.journal(task["id"]) if event["type"] == "step.done"]
    assert steps == ["think", "search_handbook", "think"]


def test_the_workflow_triages_every_ticket_into_a_report_on_disk(server: Serve, folder: Path) -> None:
    started = server.post("/v1/opscore/agent/triage/workflow", {"workflowDefinitionId": "triage"})
    task = server.settled(started["taskId"])

    assert task["state"] == "succeeded", task
    assert task["sessionId"] == started["sessionId"]
    report = (folder / task["result"]["path"]).read_text()
    tickets = sorted(path.stem for path in (folder / "tickets").glob("*.md"))
    assert sorted(set(re.findall(r"HD-\d+", report))) == tickets
    assert task["result"]["tickets"] == len(tickets)
    assert task["result"]["missing"] == []


def test_a_question_that_is_not_recorded_fails_and_names_the_way_out(server: Serve) -> None:
    task = server.post("/v1/agents/helper/run", {"input": UNRECORDED, "waitS": 30})

    assert task["state"] == "failed"
    assert UNRECORDED in task["error"]["message"]
    assert "OPSPAWN_MODEL" in task["error"]["message"]


def test_the_terminal_runs_the_same_agent(folder: Path) -> None:
    answered = opspawn("run", "app:app", "helper", "How do I reset a token?", folder=folder)
    refused = opspawn("run", "helper", UNRECORDED, folder=folder)

    assert answered.returncode == 0, answered.stderr
    assert "token" in answered.stdout.lower()
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "OPSPAWN_MODEL" in refused.stderr


def test_without_plugins_it_says_what_is_missing_and_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "quickstart"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(".opspawn", "reports", "__pycache__"))

    refused = opspawn("run", "helper", "How do I reset a token?", folder=copy, env={"OPSPAWN_PLUGINS": "none"})

    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "opspawn-planner-react" in refused.stderr
    assert "OPSPAWN_PLUGINS" in refused.stderr
    assert not (copy / ".opspawn").exists()
