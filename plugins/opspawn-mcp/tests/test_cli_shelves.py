"""`opspawn mcp resources`, `read`, `prompts` and `prompt`: what an operator sees of what servers hold."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ._shelf import over_http
from ._terminal import opspawn, read

CONFIG = """
[plugins.mcp.servers.shelf]
url = "{url}"
allow_private = true
mode = "modern"
pin = "off"
resources = ["notes://today", "notes://long"]
prompts = ["greet"]
ask = ["prompts/get"]
max_result_bytes = 1024
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with over_http() as found:
        yield found


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("opspawn.toml").write_text(CONFIG.format(url=url))


def test_what_servers_hold_is_listed_with_what_is_granted() -> None:
    resources, prompts = read("mcp", "resources"), read("mcp", "prompts", "shelf")

    assert [(one.get("uri") or one["template"], one["granted"]) for one in resources] == [
        ("notes://today", "yes"),
        ("notes://secret", "no"),
        ("notes://long", "yes"),
        ("notes://{day}", ""),
    ]
    assert [(one["prompt"], one["granted"]) for one in prompts] == [("greet", "yes"), ("rude", "no")]
    shown = [line.split() for line in opspawn("mcp", "prompts").stdout.splitlines()]
    assert ["shelf/greet", "yes", "who", "Greets."] in shown


def test_a_resource_is_read_and_a_prompt_got_as_the_rules_say() -> None:
    told = read("mcp", "read", "shelf", "notes://long")
    refused = opspawn("mcp", "prompt", "shelf/greet", "who=7")

    assert told["contents"] == [{"uri": "notes://long", "text": "x" * 5000}]
    assert "Cut off: 1,024 of 5,000 bytes" in opspawn("mcp", "read", "shelf", "notes://long").stdout
    assert (refused.exit_code, "a human must be asked" in refused.stderr) == (1, True)
    assert read("mcp", "prompt", "shelf/greet", "who=7", "--yes")["messages"][0]["text"].startswith("Greet 7.")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("read", "shelf", "notes://secret"), "is not granted (plugins.mcp.servers.shelf.resources)"),
        (("read", "shelves", "notes://today"), "Did you mean 'shelf'?"),
        (("prompt", "greet"), "'greet' is no prompt."),
        (("prompt", "shelf/rude"), "The prompt 'rude' is not granted"),
        (("prompt", "shelf/greet", "--yes"), "who must be given"),
        (("prompt", "shelf/greet", '{"who": 7}'), "'who' of a prompt is a text"),
    ],
)
def test_a_mistake_is_told_in_one_line(arguments: tuple[str, ...], words: str) -> None:
    result = opspawn("mcp", *arguments)

    assert result.exit_code != 0
    assert words in result.stderr


@pytest.mark.timeout(180)  # a busy machine takes its time to start a command
def test_a_resource_is_followed_until_it_is_enough(url: str) -> None:
    def write(text: Any) -> None:
        assert opspawn("mcp", "call", "shelf/write", json.dumps({"text": text})).exit_code == 0

    write("one")
    command = [str(Path(sys.executable).with_name("opspawn")), "mcp", "read", "shelf", "notes://today", "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        first = following.stdout.readline()
        write("two")
        second = following.stdout.readline()
        following.terminate()

    assert (first, second) == ("one\n", "two\n")
