"""The quickstart's recording: it is what `record.py` makes of the example's files today, and it answers offline."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from opspawn.app import load_app
from opspawn.config import load_settings
from opspawn.contracts.store import TaskState
from opspawn.host import Host

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "quickstart"
ANSWERS = json.loads((EXAMPLE / "answers.json").read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "quickstart"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("reports", ".opspawn", "__pycache__"))
    return copy


def test_recording_anew_gives_the_recording_that_is_kept(folder: Path) -> None:
    """A change to tickets, handbook, instructions or script needs a new recording: run `python record.py` there."""
    kept = (folder / "recording.jsonl").read_bytes()
    (folder / "recording.jsonl").unlink()

    made = subprocess.run([sys.executable, "record.py"], cwd=folder, capture_output=True, text=True, timeout=120)

    assert made.returncode == 0, made.stderr
    assert (folder / "recording.jsonl").read_bytes() == kept


async def test_the_recorded_questions_and_the_workflow_run_offline(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(folder))
    app = load_app("app.py:app", folder)

    async with Host.open(app, loaded=load_settings(folder / "opspawn.toml"), data=folder / "data") as host:
        asked = {question: await host.submit("agent/helper", question) for question in ANSWERS}
        triage = await host.submit("workflow/triage", {})
        answers = {question: (await host.wait(task.id, 60)).result for question, task in asked.items()}
        ended = await host.wait(triage.id, 60)

    assert answers == {question: answer["text"] for question, answer in ANSWERS.items()}
    assert (ended.state, ended.error) == (TaskState.SUCCEEDED, None)
    assert ended.result["priorities"] == {"P1": 5, "P2": 8, "P3": 12, "P4": 5}
    report = (folder / "reports" / "triage.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^\| HD-\d+ \|", report, re.MULTILINE)) == 30


async def test_a_question_that_is_not_recorded_fails_and_names_the_way_to_a_live_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(folder))
    app = load_app("app.py:app", folder)

    async with Host.open(app, loaded=load_settings(folder / "opspawn.toml"), data=folder / "data") as host:
        task = await host.submit("agent/helper", "What is the weather?")
        ended = await host.wait(task.id, 60)

    assert ended.state is TaskState.FAILED
    assert "OPSPAWN_MODEL" in json.dumps(ended.error)
