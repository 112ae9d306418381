"""`opspawn mcp serve --stdio`, as an editor starts it: a process that speaks nothing but the protocol on its stdout."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.types import ElicitResult

from ._served import MODES, make_folder, text_of

pytestmark = pytest.mark.timeout(180)  # a busy machine takes its time to start a process
_PATIENCE_S = 150
OPSPAWN = str(Path(sys.executable).with_name("opspawn"))
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}


def client_in(folder: Path, mode: str, errors: Any, **options: Any) -> Client:
    started = StdioServerParameters(command=OPSPAWN, args=["mcp", "serve", "--stdio"], cwd=folder, env=dict(os.environ))
    return Client(stdio_client(started, errlog=errors), mode=mode, cache=None, **options)


@pytest.mark.parametrize("mode", MODES)
async def test_an_editor_asks_an_agent_and_approves_a_call(tmp_path: Path, mode: str) -> None:
    folder = make_folder(tmp_path)

    async def approve(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"decision": "approve"})

    with (tmp_path / "stderr").open("w") as errors:
        async with client_in(folder, mode, errors, elicitation_callback=approve) as client:
            said = await client.call_tool("ask_echo", {"message": "hello"})
            paid = await client.call_tool("pay", {"amount": 3})

    assert text_of(said) == "you said: hello"
    assert paid.structured_content == {"paid": 3}
    assert "an app that prints while it is imported" in (tmp_path / "stderr").read_text()


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [OPSPAWN, "mcp", "serve", "--stdio", *more],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("how", ["eof", "term"])
async def test_it_ends_with_its_client_or_when_it_is_told_to(tmp_path: Path, how: str) -> None:
    process = start(make_folder(tmp_path))
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(HELLO) + "\n")
    process.stdin.flush()
    answer = json.loads(await asyncio.to_thread(process.stdout.readline))

    if how == "eof":
        process.stdin.close()
    else:
        process.send_signal(signal.SIGTERM)
    code = await asyncio.to_thread(process.wait, _PATIENCE_S)

    assert answer["result"]["serverInfo"]["name"] == "opspawn"
    assert (code, process.stdout.read()) == (0, "")
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "1"], "--stdio listens on no address."),
        (["nowhere:app"], "nowhere"),
    ],
)
def test_what_cannot_be_started_is_one_line_on_stderr(tmp_path: Path, arguments: list[str], words: str) -> None:
    process = start(make_folder(tmp_path), *arguments)

    out, errors = process.communicate(timeout=_PATIENCE_S)

    assert (process.returncode, out) == (2, "")
    assert errors.count("\n") == 1
    assert words in errors
