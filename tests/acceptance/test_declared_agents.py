"""`opspawn run` of agents that opspawn.toml declares: no Python at all, and conversations over several commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ._process import ModelServer, opspawn

pytestmark = pytest.mark.usefixtures("store")

CONFIG = """
[agents.helper]
instructions = "Be brief."

[agents.clerk]
output = { type = "object", properties = { total = { type = "integer" } }, required = ["total"] }
"""


def test_a_declared_agent_goes_on_with_a_session_from_command_to_command(tmp_path: Path) -> None:
    (tmp_path / "opspawn.toml").write_text(CONFIG)
    (tmp_path / "steps.json").write_text(json.dumps([{"say": "Hello Ada."}, {"say": "You are Ada."}]))
    with ModelServer(tmp_path / "steps.json") as model:
        first = opspawn("run", "helper", "I am Ada.", "--session", "talk", folder=tmp_path, env=model.env)
        second = opspawn("run", "helper", "Who am I?", "--session", "talk", folder=tmp_path, env=model.env)
        asked = model.requests

    assert (first.stdout, second.stdout) == ("Hello Ada.\n", "You are Ada.\n")
    told = [message["content"] for message in asked[-1]["messages"]]
    assert told == ["Be brief.", "I am Ada.", "Hello Ada.", "Who am I?"]


def test_a_declared_schema_makes_the_result_json(tmp_path: Path) -> None:
    (tmp_path / "opspawn.toml").write_text(CONFIG)
    (tmp_path / "steps.json").write_text(json.dumps([{"say": '{"total": "x"}'}, {"say": '{"total": 3}'}]))
    with ModelServer(tmp_path / "steps.json") as model:
        run = opspawn("run", "clerk", "How much?", folder=tmp_path, env=model.env)

    assert json.loads(run.stdout) == {"total": 3}, run.stderr


def test_a_session_goes_with_a_new_run_only(tmp_path: Path) -> None:
    (tmp_path / "opspawn.toml").write_text(CONFIG)

    run = opspawn("run", "--resume", "t-1", "--session", "talk", folder=tmp_path)

    assert run.returncode != 0
    assert run.stderr == "Error: --session goes with a new run. A run that is resumed has its session.\n"
