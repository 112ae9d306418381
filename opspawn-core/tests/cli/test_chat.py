"""`opspawn chat` and the events of `opspawn run` without a terminal: from pipes, and for scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from opspawn.cli import main

APP = """
from opspawn import Agent, App
from opspawn.agentkit import FunctionModel
from opspawn.testing import LoopPlanner


def answer(request):
    if "fail" in request.messages[-1].content:
        raise ValueError("kaputt")
    return f"You said {sum(message.role == 'user' for message in request.messages)} things."


async def nothing(ctx):
    return None


app = App(agents=[Agent("helper", model=FunctionModel(answer), planner=LoopPlanner())], functions={"nothing": nothing})
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "chat_app.py").write_text(APP)
    (tmp_path / "opspawn.toml").write_text('app = "chat_app:app"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opspawn(*words: str, typed: str = "") -> Result:
    return CliRunner().invoke(main, words, input=typed)


def events(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_from_a_pipe_each_line_is_a_turn_of_one_conversation() -> None:
    done = opspawn("chat", "--session", "pipe", typed="one\n\ntwo\n")

    assert (done.exit_code, done.stdout) == (0, "You said 1 things.\nYou said 2 things.\n")
    assert opspawn("chat", "helper", "--session", "pipe", typed="three").stdout == "You said 3 things.\n"


def test_with_json_each_event_is_a_line() -> None:
    told = events(opspawn("chat", "--json", typed="one\ntwo\n"))

    assert [event["output"] for event in told if event["type"] == "run_ended"] == [
        "You said 1 things.",
        "You said 2 things.",
    ]
    assert (told[0]["type"], told[-1]["type"]) == ("run_started", "run_ended")


def test_from_a_pipe_the_first_failure_ends_it() -> None:
    done = opspawn("chat", typed="one\nfail\ntwo\n")

    assert (done.exit_code, done.stdout) == (1, "You said 1 things.\n")
    assert "Error: the run failed: ValueError: kaputt" in done.stderr


def test_a_run_tells_its_events_as_lines() -> None:
    told = events(opspawn("run", "helper", "hello", "--events"))

    assert (told[0]["type"], told[0]["input"]) == ("run_started", "hello")
    assert (told[-1]["type"], told[-1]["output"]) == ("run_ended", "You said 1 things.")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nobody"], "There is no agent 'nobody'."),
        (["function/nothing"], "'function/nothing' is no agent, and only agents talk."),
        (["helper", "hi"], "'hi' is one word too many."),
        (["helper", "--model", "nope:m"], "There is no model 'nope'."),
    ],
)
def test_what_one_cannot_talk_to_is_said_in_one_line(words: list[str], said: str) -> None:
    done = opspawn("chat", *words, typed="hi\n")

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Error: {said}")
    assert done.stderr.count("\n") == 1


def test_without_a_name_the_only_agent_is_meant(folder: Path) -> None:
    app = (folder / "chat_app.py").read_text()
    (folder / "two_agents.py").write_text(app.replace("agents=[", 'agents=[Agent("other"), '))

    done = opspawn("chat", "two_agents:app", typed="hi\n")

    assert done.stderr.startswith("Error: Which agent? There are: helper, other.")
