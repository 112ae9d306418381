"""What a person sees of `opspawn run` in a terminal, where the answer appears as it is made."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ._process import OPSPAWN, PATIENCE_S, ModelServer

APP = """
from opspawn import Agent, App, tool


@tool(effect="read")
async def search(query: str) -> str:
    \"\"\"Search.\"\"\"
    return "found"


app = App(agents=[Agent("clerk", tools=[search])])
"""


@pytest.fixture
def folder(tmp_path: Path, store: str) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "opspawn.toml").write_text('app = "app:app"\n')
    return tmp_path


def see(folder: Path, *steps: dict[str, Any]) -> list[str]:
    """The lines on the terminal after `opspawn run clerk`, without colours."""
    (folder / "steps.json").write_text(json.dumps(steps))
    with ModelServer(folder / "steps.json") as model:
        ours, theirs = pty.openpty()
        env = {**os.environ, **model.env, "TERM": "dumb"}
        command = [OPSPAWN, "run", "clerk", "How?"]
        with subprocess.Popen(command, cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            shown = read_all(ours)
            assert process.wait(PATIENCE_S) == 0, shown
    return re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()


def read_all(terminal: int) -> str:
    """Everything until the other side is closed, which Linux tells with an error."""
    shown = b""
    with suppress(OSError):
        while piece := os.read(terminal, 4096):
            shown += piece
    os.close(terminal)
    return shown.decode()


def test_a_streamed_answer_stands_there_once(folder: Path) -> None:
    lines = see(folder, {"say": "Open the settings."})

    assert lines == ["Open the settings."]


def test_half_an_answer_stands_on_a_line_of_its_own_and_the_whole_one_follows_once(folder: Path) -> None:
    broken = {"break_stream": 2, "answer": {"say": "Throw it away."}}

    lines = see(folder, broken, {"say": "Open the settings."})

    assert (lines[0], lines[-1]) == ("Throw it", "Open the settings.")
    assert "broke before the answer was complete. Trying again." in " ".join(line.strip() for line in lines[1:-1])


def test_a_tool_that_failed_is_marked_as_failed(folder: Path) -> None:
    app = (folder / "app.py").read_text()
    (folder / "app.py").write_text(app.replace('return "found"', 'raise ValueError("no index")'))

    lines = see(folder, {"call_tools": [["search", {"query": "token"}]]}, {"say": "I could not look."})

    assert lines[1].startswith("✗ search failed")
    assert lines[2:] == ["I could not look."]


def test_words_before_a_tool_call_are_not_the_answer(folder: Path) -> None:
    looking = {"call_tools": [["search", {"query": "token"}]], "text": "Let me look."}

    lines = see(folder, looking, {"say": "Let me look."})

    assert lines[0] == "Let me look."
    assert lines[1] == '→ search(query="token")'
    assert lines[2].startswith("✓ search")
    assert lines[3:] == ["Let me look."]
