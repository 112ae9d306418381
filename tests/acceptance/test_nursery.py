"""What comes from the nursery is to whoever starts it the command itself."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from ._process import OPSPAWN, Process, nursery, wait_for

APP = """
from opspawn import App


async def hello(context):
    return "hello"


app = App(functions={"hello": hello})
"""


def shim(folder: Path) -> str:
    program = folder / "opspawn"
    program.write_text(nursery().shim())
    program.chmod(0o755)
    (folder / "app.py").write_text(APP)
    return str(program)


def serving(folder: Path) -> Process:
    return Process([shim(folder), "serve", "app:app", "--port", "0"], folder)


def port_of(process: Process) -> int:
    return int(process.line("listens on").partition("127.0.0.1:")[2].split()[0].rstrip("/"))


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_a_command_ends_with_its_own_code_and_words(tmp_path: Path) -> None:
    with Process([shim(tmp_path), "nonsense"], tmp_path) as process:
        assert process.ended() == 2
        assert "No such command 'nonsense'" in process.output


def test_a_signal_reaches_the_command(tmp_path: Path) -> None:
    with serving(tmp_path) as process:
        port = port_of(process)
        process.send(signal.SIGTERM)

        assert process.ended() == 0
        assert not answers(port)


def test_who_kills_the_one_has_killed_the_other(tmp_path: Path) -> None:
    with serving(tmp_path) as process:
        port = port_of(process)
        process.send(signal.SIGKILL)

        assert process.ended() == -signal.SIGKILL
        wait_for(lambda: not answers(port), "the end of the command")


def test_a_killed_command_is_told_as_killed(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    with Process([OPSPAWN, "serve", "app:app", "--port", "0"], tmp_path) as process:
        port_of(process)
        os.kill(process.pid, signal.SIGKILL)

        assert process.ended() == -signal.SIGKILL
