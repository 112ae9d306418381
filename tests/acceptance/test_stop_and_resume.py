"""Runs that are stopped in the middle: by a server that is asked to stop, or in the terminal; and how each goes on."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from ._process import OPSPAWN, ModelServer, Process, Serve, json_lines, opspawn, wait_for

APP = '''
import json
from pathlib import Path
from opspawn import Agent, App, tool

LINES = Path(__file__).with_name("notes.jsonl")


@tool(effect="idempotent")
async def note(text: str) -> str:
    """Write a note."""
    with LINES.open("a") as file:
        file.write(json.dumps({"text": text}) + "\\n")
    return f"noted: {text}"


app = App(agents=[Agent("clerk", tools=[note], instructions="Note it, then answer.")])
'''
NOTE = {"call_tools": [["note", {"text": "milk"}]]}
SLOW = 1.5
LEASE_S = 30.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an app of one agent and one tool, and a configuration that names it."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "opspawn.toml").write_text('app = "app:app"\n')
    return tmp_path


def model(folder: Path, *steps: dict[str, Any]) -> ModelServer:
    (folder / "steps.json").write_text(json.dumps(steps))
    return ModelServer(folder / "steps.json")


def notes(folder: Path) -> list[str]:
    return [line["text"] for line in json_lines(folder / "notes.jsonl")]


def start(server: Serve) -> str:
    return str(server.post("/v1/agents/clerk/run", {"input": "Buy milk."})["id"])


def types(journal: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in journal]


@pytest.mark.usefixtures("store")
def test_a_stopping_server_lets_the_model_call_end_and_gives_the_task_back_without_using_an_attempt(
    folder: Path,
) -> None:
    with model(folder, {**NOTE, "latency_s": SLOW}, {"say": "Bought."}) as asked:
        with Serve(folder, asked.env) as server:
            task = start(server)
            wait_for(lambda: len(asked.requests) == 1, "the model call")
            server.send(signal.SIGTERM)
            code = server.ended()
        assert (code, len(asked.requests), notes(folder)) == (0, 1, [])
        with Serve(folder, asked.env) as again:
            ended, journal = again.settled(task), again.journal(task)

        assert (ended["state"], ended["result"], ended["failures"]) == ("succeeded", "Bought.", 0)
        assert (len(asked.requests), notes(folder)) == (2, ["milk"])
        assert "task.released" in types(journal)
        assert types(journal).index("step.done") < types(journal).index("task.released")


def test_a_stopping_server_breaks_off_a_model_call_that_outlasts_its_time_to_drain(folder: Path) -> None:
    """The task goes back to the queue at once, so that whoever comes next need not wait for a lease to end."""
    drain_s = 0.5
    with model(folder, {"hang": 600}, NOTE, {"say": "Bought."}) as asked:
        env = {**asked.env, "OPSPAWN_WORKER__DRAIN_S": str(drain_s)}
        with Serve(folder, env) as server:
            task = start(server)
            wait_for(lambda: len(asked.requests) == 1, "the model call")
            server.send(signal.SIGTERM)
            code = server.ended(LEASE_S / 2)
        with Serve(folder, env) as again:
            ended, journal = again.settled(task, LEASE_S / 2), again.journal(task)

        assert code == 0
        assert (ended["state"], ended["result"], ended["failures"]) == ("succeeded", "Bought.", 0)
        assert (len(asked.requests), notes(folder)) == (3, ["milk"])
        assert types(journal)[:4] == ["task.accepted", "task.claimed", "task.released", "task.claimed"]


def test_a_second_signal_does_not_wait(folder: Path) -> None:
    """The time to drain is 25 s by default; an impatient user presses Ctrl-C twice."""
    with model(folder, {"hang": 600}) as asked, Serve(folder, asked.env) as server:
        task = start(server)
        wait_for(lambda: len(asked.requests) == 1, "the model call")
        server.send(signal.SIGINT)
        wait_for(lambda: "Ctrl-C again stops at once" in server.output, "the word that it stops")
        assert server.alive
        server.send(signal.SIGINT)
        code = server.ended(15)

    assert code == 0
    assert json.loads(opspawn("tasks", "show", task, "--json", folder=folder).stdout)["state"] == "queued"


def run(folder: Path, asked: ModelServer, *arguments: str) -> Process:
    return Process([OPSPAWN, "run", *arguments], folder, asked.env)


def only_task(folder: Path) -> dict[str, Any]:
    (task,) = json.loads(opspawn("tasks", "list", "--json", folder=folder).stdout)
    found: dict[str, Any] = task
    return found


@pytest.mark.usefixtures("store")
def test_a_run_that_is_killed_waits_for_resume_though_a_server_runs_on_the_same_data(folder: Path) -> None:
    with model(folder, NOTE, {"hang": 600}, {"say": "Bought."}, {"say": "Bought again."}) as asked:
        with run(folder, asked, "clerk", "Buy milk.") as cut:
            wait_for(lambda: len(asked.requests) == 2, "the second model call")
            cut.kill()
        task = only_task(folder)
        with Serve(folder, asked.env) as server:
            other = server.post("/v1/agents/clerk/run", {"input": "Anything.", "waitS": 20})
            time.sleep(2.5)  # several looks of the server's worker
            untouched = server.journal(task["id"])
            requests_before = len(asked.requests)
            resumed = opspawn("run", "--resume", task["id"], folder=folder, env=asked.env)
            journal = server.journal(task["id"])

        assert other["result"] == "Bought."
        assert types(untouched).count("task.claimed") == 1
        assert requests_before == 3
        assert (resumed.returncode, resumed.stdout) == (0, "Bought again.\n")
        assert types(journal).count("task.claimed") == 2
        assert notes(folder) == ["milk"]


def test_ctrl_c_says_how_to_go_on_and_resume_does_without_asking_the_model_again(folder: Path) -> None:
    with model(folder, {**NOTE, "latency_s": SLOW}, {"say": "Bought."}) as asked:
        with run(folder, asked, "clerk", "Buy milk.") as cut:
            wait_for(lambda: len(asked.requests) == 1, "the first model call")
            cut.send(signal.SIGINT)
            code = cut.ended()
        task = only_task(folder)
        resumed = opspawn("run", "--resume", task["id"], folder=folder, env=asked.env)

        assert code == 130
        assert f"opspawn run --resume {task['id']}" in cut.output
        assert task["state"] == "queued"
        assert (resumed.returncode, resumed.stdout) == (0, "Bought.\n")
        assert (len(asked.requests), notes(folder)) == (2, ["milk"])
        assert only_task(folder)["failures"] == 0


def test_resume_refuses_in_one_line_what_it_cannot_go_on_with(folder: Path) -> None:
    with model(folder, {"say": "Bought."}) as asked:
        with Serve(folder, asked.env) as server:
            task = start(server)
            server.settled(task)
        unknown = opspawn("run", "--resume", "t-none", folder=folder, env=asked.env)
        served = opspawn("run", "--resume", task, folder=folder, env=asked.env)

    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)
    assert "'t-none'" in unknown.stderr
    assert served.stderr.count("\n") == 1
    assert served.returncode != 0
    assert "opspawn serve" in served.stderr
