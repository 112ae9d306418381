"""A plan is approved, changed, sent back and rejected in a real terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from ._process import OPSPAWN, PATIENCE_S

APP = '''
from opspawn import Agent, App, tool
from opspawn.agentkit import FunctionModel
from opspawn.contracts.model import ToolCall


@tool(effect="once")
async def order(article: str, number: int) -> str:
    """Order an article."""
    return f"{number} x {article} ordered"


def model(request):
    last = request.messages[-1]
    if last.role == "tool" and "ordered" in last.content:
        return [line for line in last.content.splitlines() if "ordered" in line][0]
    number = 6 if "Six" in last.content else 12
    step = {"id": "buy", "tool": "order", "inputs": {"article": "tea", "number": number}}
    return ToolCall(str(len(request.messages)), "make_plan", {"steps": [step]})


settings = {"approve": "effects"}
buyer = Agent("buyer", model=FunctionModel(model), planner="plan-execute", planner_settings=settings, tools=[order])
app = App(agents=[buyer])
'''
ASKED = "[e]dit: "
UNKNOWN = '[{"id": "buy", "tool": "ordr"}]'
FEWER = '[{"id": "few", "tool": "order", "inputs": {"article": "tea", "number": 3}}]'


@pytest.fixture
def folder(tmp_path: Path, store: str) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "opspawn.toml").write_text('app = "app:app"\n')
    return tmp_path


class Terminal:
    """A process on a terminal, and what it has shown, without colours."""

    def __init__(self, folder: Path, *command: str) -> None:
        self._ours, theirs = pty.openpty()
        env = {**os.environ, "TERM": "dumb"}
        self.process = subprocess.Popen(command, cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.shown, self._read = "", 0

    def expect(self, words: str) -> None:
        """Wait until words are shown, after those that were expected before."""
        until = time.monotonic() + PATIENCE_S
        while (found := self.shown.find(words, self._read)) < 0:
            assert time.monotonic() < until, self.shown
            assert self._more(), self.shown
        self._read = found + len(words)

    def type(self, line: str) -> None:
        os.write(self._ours, f"{line}\n".encode())

    def ended(self) -> int:
        """The exit code, once it has ended."""
        while self._more():
            pass
        code = self.process.wait(PATIENCE_S)
        os.close(self._ours)
        return code

    def _more(self) -> bool:
        try:
            select.select([self._ours], [], [], PATIENCE_S)
            piece = os.read(self._ours, 4096).decode()
        except OSError:  # the other side is closed
            return False
        self.shown += re.sub(r"\x1b\[[0-9;]*[mK]", "", piece)
        return bool(piece)


@pytest.mark.parametrize(
    ("said", "code", "shown"),
    [
        ([(ASKED, "y")], 0, "12 x tea ordered"),
        ([(ASKED, "perhaps"), (ASKED, "r"), ("different? ", "Six suffice."), (ASKED, "y")], 0, "6 x tea ordered"),
        ([(ASKED, "e"), ("as JSON: ", UNKNOWN), ("no tool 'ordr'", ""), (ASKED, "y")], 0, "12 x tea ordered"),
        ([(ASKED, "e"), ("as JSON: ", FEWER)], 0, 'order(article="tea", number=3)'),
        ([(ASKED, "n"), ("Why? ", "Too dear.")], 1, "Too dear."),
    ],
)
def test_a_plan_is_decided_about_in_place(folder: Path, said: Sequence[tuple[str, str]], code: int, shown: str) -> None:
    terminal = Terminal(folder, OPSPAWN, "run", "buyer", "Stock up.")
    for asked, answer in said:
        terminal.expect(asked)
        terminal.type(answer)
    assert terminal.ended() == code, terminal.shown
    assert shown in terminal.shown


def test_a_conversation_asks_about_plans_as_well(folder: Path) -> None:
    terminal = Terminal(folder, OPSPAWN, "chat", "buyer")
    terminal.expect("> ")
    terminal.type("Stock up.")
    terminal.expect(ASKED)
    terminal.type("y")
    terminal.expect("12 x tea ordered")
    terminal.expect("> ")
    terminal.type("/exit")
    assert terminal.ended() == 0, terminal.shown
