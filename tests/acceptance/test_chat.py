"""What a person sees and types in a real terminal: a run that asks, a conversation, and what Ctrl-C leaves behind."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType

import pytest

from ._process import OPSPAWN, PATIENCE_S

APP = '''
from opspawn import Agent, App, tool
from opspawn.agentkit import FunctionModel
from opspawn.contracts.model import ModelResponse, ToolCall, Usage


@tool(effect="once")
async def refund(amount: int) -> str:
    """Give money back."""
    return f"paid {amount}\\nslip 7"


def answer(request):
    last = request.messages[-1]
    if last.role == "user" and "refund" in last.content:
        return ToolCall("1", "refund", {"amount": 5})
    if last.role == "tool":
        return f"Told: {last.content.splitlines()[-1]}"
    said = sum(message.role == "user" for message in request.messages)
    return ModelResponse(f"You said {said} things.", usage=Usage(1000, 10, requests=1))


helper = Agent("helper", model=FunctionModel(answer), tools=[refund])
app = App(agents=[helper])
'''


@pytest.fixture
def folder(tmp_path: Path, store: str) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "opspawn.toml").write_text('app = "app:app"\n[policy]\nonce = "ask"\n')
    return tmp_path


class Person:
    """Somebody at a terminal of 80 columns in which `opspawn` runs."""

    def __init__(self, folder: Path, *arguments: str, **env: str) -> None:
        ours, theirs = pty.openpty()
        self._terminal = ours
        self.screen = ""
        self._seen = 0
        variables = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "NO_COLOR": "1", "OPSPAWN_WORKER__POLL_S": "0.05"}
        self._process = subprocess.Popen(
            [OPSPAWN, *arguments],
            cwd=folder,
            env={**variables, **env},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            process_group=None,
            preexec_fn=lambda: _own_terminal(),
        )
        os.close(theirs)

    def __enter__(self) -> Person:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)

    def sees(self, text: str) -> str:
        """Wait for a text on the screen, after those seen before; all of the screen up to it."""
        deadline = time.monotonic() + PATIENCE_S
        while (place := self.screen.find(text, self._seen)) < 0:
            assert time.monotonic() < deadline, f"waited in vain for {text!r}; the screen shows:\n{self.screen}"
            if not self._read():
                raise AssertionError(f"it ended without {text!r}; the screen shows:\n{self.screen}")
        self._seen = place + len(text)
        return self.screen[: self._seen]

    def types(self, line: str) -> None:
        os.write(self._terminal, f"{line}\n".encode())

    def presses(self, key: str) -> None:
        """Press Ctrl and a letter."""
        os.write(self._terminal, bytes([ord(key.upper()) - 64]))

    def leaves(self) -> int:
        """Wait for its end; the answer is the exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self._read():
            assert time.monotonic() < deadline, f"it does not end; the screen shows:\n{self.screen}"
        return self._process.wait(PATIENCE_S)

    def _read(self) -> bool:
        """Read what is there, for a moment; False at the end."""
        if not select.select([self._terminal], [], [], 0.2)[0]:
            return self._process.poll() is None
        try:
            piece = os.read(self._terminal, 65536)
        except OSError:
            return False
        text = piece.decode("utf-8", "replace").replace("\r\n", "\n")
        self.screen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
        return bool(piece)


def _own_terminal() -> None:
    """Make the terminal the controlling one, so that Ctrl-C is a signal."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_run_that_was_cut_off_while_it_asks_is_gone_on_with_and_asks_again(folder: Path) -> None:
    with Person(folder, "run", "helper", "refund it") as person:
        person.sees("→ refund(amount=5)")
        person.sees("? May helper call the tool refund")
        person.sees("Allow it? [y]es, [n]o, [a]lways in this run, [e]dit: ")
        person.presses("c")
        person.sees("The run was cut off. Go on with: opspawn run --resume ")
        assert person.leaves() == 130
    id = re.findall(r"--resume (t-[0-9a-f]+)", person.screen)[0]

    with Person(folder, "run", "--resume", id) as person:
        person.sees("? May helper call the tool refund")
        person.sees("[e]dit: ")
        person.types("y")
        person.sees("✓ refund")
        person.sees("paid 5 (+1 lines)")
        person.sees("Told: slip 7")
        assert person.leaves() == 0


def test_a_conversation_is_kept_and_an_answer_that_was_cut_off_gone_on_with(folder: Path) -> None:
    with Person(folder, "chat", "--session", "money") as person:
        person.sees("helper (FunctionModel), session money")
        person.sees("\n> ")
        person.types("hello")
        person.sees("You said 1 things.")
        person.sees("1,000 tokens in, 10 out\n> ")
        person.types("/usage")
        person.sees("1 answer: 1,000 tokens in, 10 out\n> ")
        person.types("/model nope:m")
        person.sees("Error: There is no model 'nope'.")
        person.sees("\n> ")
        person.types("refund it")
        person.sees("[e]dit: ")
        person.presses("c")
        person.sees("The answer was cut off. Go on with: opspawn chat helper --session money")
        assert person.leaves() == 130

    with Person(folder, "chat", "helper", "--session", "money") as person:
        person.sees("Going on with what was cut off.")
        person.sees("[e]dit: ")
        person.types("y")
        person.sees("Told: slip 7")
        person.sees("\n> ")
        person.types("and now?")
        person.sees("You said 3 things.")
        person.sees("\n> ")
        person.presses("d")
        assert person.leaves() == 0
