"""`opspawn mcp`: what an operator sees and does, on stdout, stderr and in the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opspawn.cli.tables import GrowingTable

from ._plain import Plain
from ._terminal import opspawn, read

MakePlain = Callable[..., Plain]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def configure(*servers: Plain, more: str = "", **settings: Any) -> None:
    lines = []
    for one in servers:
        lines.append(f"[plugins.mcp.servers.{one.name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in one.settings(**settings).items()]
    Path("opspawn.toml").write_text("\n".join([*lines, more]))


def test_servers_are_listed_with_what_ails_them(plain: MakePlain) -> None:
    configure(plain("good", tools=["a", "b"]), plain("dead", start="die"))

    good, dead = read("mcp", "list")

    assert (good["state"], good["tools"], good["heldBack"], good["protocol"]) == ("ready", 2, 2, "2025-11-25")
    assert (dead["state"], dead["fault"]) == ("failed", "it ended with exit code 1 (stderr: cannot open the database)")


def test_tools_are_shown_approved_and_called(plain: MakePlain) -> None:
    server = plain(tools=["echo"])
    configure(server)

    assert [one["status"] for one in read("mcp", "tools")] == ["new"]
    refused = opspawn("mcp", "call", "plain/echo", "a=1")
    assert "it is new, and nobody has approved it" in refused.stderr
    approved = opspawn("mcp", "approve", "plain", "--yes", "--by", "ann")
    assert approved.exit_code == 0
    assert "Does echo." in approved.stdout
    assert [one["status"] for one in read("mcp", "tools")] == ["approved"]
    called = opspawn("mcp", "call", "plain/echo", "a=1", "b=x", 'c={"d": [2]}')
    assert json.loads(called.stdout) == {"a": 1, "b": "x", "c": {"d": [2]}}
    assert len(server.calls()) == 1


def test_to_approve_what_is_not_there_is_a_mistake(plain: MakePlain) -> None:
    configure(plain(tools=["echo"]))

    result = opspawn("mcp", "approve", "plain", "ehco", "--yes")

    assert result.exit_code == 2
    assert "There is no tool 'ehco'. Known: echo." in result.stderr


def test_an_image_is_named_and_its_content_is_in_the_json(plain: MakePlain) -> None:
    configure(plain(tools=["picture"]), pin="off")

    assert opspawn("mcp", "call", "plain/picture").stdout == "[Image, image/png, 8 bytes; its content with --json]\n"
    assert read("mcp", "call", "plain/picture") == [{"type": "image", "mediaType": "image/png", "data": "iVBORw0KGgo="}]


def test_keys_are_not_shown(plain: MakePlain) -> None:
    key = "a key that nobody else should ever read"
    configure(plain(tools=["echo"]))
    with Path("opspawn.toml").open("a") as file:
        file.write(f'\n[plugins.mcp.audit]\nsigning_key = "{key}"\n[plugins.mcp.tokens]\nencryption_key = "{key}"\n')

    assert key not in opspawn("config", "show").stdout

    Path("opspawn.toml").write_text('[plugins.mcp.audit]\nsigning_key = "short but secret"\n')
    assert "short but secret" not in opspawn("config", "show").output


def test_a_change_is_shown_before_it_is_approved(plain: MakePlain) -> None:
    server = plain(tools=["echo"])
    configure(server)
    opspawn("mcp", "approve", "plain", "--yes")
    server.change(tools=[{"name": "echo", "description": "Does evil."}])

    shown = opspawn("mcp", "approve", "plain", "--dry-run")
    asked = opspawn("mcp", "approve", "plain")

    assert shown.exit_code == 1
    assert "-  Does echo.\n+  Does evil." in shown.stdout
    assert asked.exit_code == 2
    assert "Nobody is there to be asked." in asked.stderr
    assert [one["status"] for one in read("mcp", "tools")] == ["changed"]


def test_names_of_others_are_approved_only_on_purpose(plain: MakePlain) -> None:
    configure(plain("good", tools=["send"]), plain("evil", tools=["send"]))
    opspawn("mcp", "approve", "good", "--yes")

    refused = opspawn("mcp", "approve", "evil", "--yes")
    accepted = opspawn("mcp", "approve", "evil", "--yes", "--shadowing")

    assert (refused.exit_code, accepted.exit_code) == (1, 0)
    assert "Other servers have approved tools of the same name: send (of good)." in refused.stderr


def test_a_call_that_a_rule_would_ask_about_needs_a_yes(plain: MakePlain) -> None:
    server = plain()
    configure(server, pin="off", ask=["echo"])

    assert "a human must be asked" in opspawn("mcp", "call", "plain/echo").stderr
    assert opspawn("mcp", "call", "plain/echo", "--yes").stdout.strip() == "{}"
    assert len(server.calls()) == 1


def test_a_tool_is_shown_in_full(plain: MakePlain) -> None:
    configure(plain(tools=[{"name": "add", "description": "Adds.\nCarefully."}]))

    shown = opspawn("mcp", "inspect", "plain/add")

    assert "  Adds.\n  Carefully." in shown.stdout


def test_the_doctor_names_each_fault_with_a_remedy(plain: MakePlain) -> None:
    configure(plain("good"), plain("dead", start="die"))

    result = opspawn("mcp", "doctor")

    assert result.exit_code == 1
    assert "warning  good: It answers, protocol 2025-11-25, with 1 tools. Held back: 1." in result.stdout
    assert "error    dead: it ended with exit code 1" in result.stdout


def beside_a_slow_one(plain: MakePlain, tmp_path: Path) -> Path:
    """A quick server, and a slow one that begins once the file is there."""
    settings, go = plain("slow").settings(), tmp_path / "go"
    wait = ["-c", 'while [ ! -e "$0" ]; do sleep 0.05; done; exec "$@"', str(go)]
    args = json.dumps([*wait, settings["command"], *settings["args"]])
    configure(plain("quick"), more=f'[plugins.mcp.servers.slow]\ncommand = "sh"\nargs = {args}\n')
    return go


def test_the_list_grows_as_the_servers_answer(
    plain: MakePlain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slow one begins once the quick one stands in the list."""
    go = beside_a_slow_one(plain, tmp_path)
    told: list[str] = []

    class Telling(GrowingTable):
        def add(self, *rows: Any) -> None:
            told.extend(row[0] for row in rows)
            go.touch()
            super().add(*rows)

    monkeypatch.setattr("opspawn_mcp.cli.servers.GrowingTable", Telling)
    result = opspawn("mcp", "list")

    assert told == ["quick", "slow"]
    assert [line.split("\t")[:4] for line in result.stdout.splitlines()] == [
        ["SERVER", "STATE", "TOOLS", "HELD BACK"],
        ["quick", "ready", "1", "1"],
        ["slow", "ready", "1", "1"],
    ]


def test_the_doctor_tells_of_the_quick_ones_before_the_slow_have_answered(
    plain: MakePlain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slow one begins once something was told of the quick one."""
    go = beside_a_slow_one(plain, tmp_path)
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        go.touch()

    monkeypatch.setattr("opspawn_mcp.cli.servers.print_text", tell)
    opspawn("mcp", "doctor")

    assert [line.split(maxsplit=2)[1:] for line in told] == [
        ["quick:", "It answers, protocol 2025-11-25, with 1 tools. Held back: 1. See 'opspawn mcp approve quick'."],
        ["slow:", "It answers, protocol 2025-11-25, with 1 tools. Held back: 1. See 'opspawn mcp approve slow'."],
    ]


@pytest.mark.parametrize(
    ("toml", "arguments", "words"),
    [
        ("", ["list"], "No MCP server is configured."),
        ('[plugins.mcp.servers.x]\ncommand = "no-such"\n', ["list"], "there is no program 'no-such'"),
        ('[plugins.mcp.servers.x]\ncomand = "true"\n', ["list"], "Did you mean 'plugins.mcp.servers.x.command'?"),
        ('[plugins.mcp.servers.x]\ncommand = "true"\nenv = {A = "${NOT_SET}"}\n', ["list"], "NOT_SET is not set"),
        ('[plugins.mcp.servers.a__b]\ncommand = "true"\n', ["list"], '"a__b" must be'),
        ('[plugins.mcp.servers.x]\ncommand = "true"\n', ["inspect", "y"], "There is no MCP server 'y'."),
        ('[plugins.mcp.servers.x]\ncommand = "true"\n', ["call", "x"], "'x' is no tool. Write SERVER/TOOL"),
        ('[plugins.mcp.servers.x]\ncommand = "true"\n', ["call", "x/y", "z"], "'z' is no argument."),
        ('[plugins.mcp.servers.x]\ncommand = "true"\n', ["import", "nothing.json"], "nothing.json cannot be read"),
    ],
)
def test_a_mistake_is_told_in_one_line_with_its_remedy(toml: str, arguments: list[str], words: str) -> None:
    Path("opspawn.toml").write_text(toml)

    result = opspawn("mcp", *arguments)

    assert result.exit_code == 2
    assert words in result.stderr
    assert "\n" not in result.stderr


def test_servers_of_other_programs_are_imported_without_their_secrets(plain: MakePlain) -> None:
    theirs = {
        "token": {"command": "x", "args": ["--token", "abcdef-987", "--verbose"]},
        "typo": {"comand": "x"},
        "git hub": {"url": "https://api.example/mcp", "headers": {"Authorization": "Bearer abcdef123456"}},
        "files": {"command": "npx", "args": ["-y", "server", "${HOME}/x"], "env": {"LOG": "1"}, "color": "red"},
    }
    Path("mcp.json").write_text(json.dumps({"mcpServers": theirs}))

    result = opspawn("mcp", "import", "mcp.json", "--write")

    written = Path("opspawn.toml").read_text()
    assert 'headers = { Authorization = "${GIT_HUB_AUTHORIZATION}" }' in written
    assert 'args = ["-y", "server", "${HOME}/x"]' in written
    assert "abcdef123456" not in written
    assert "GIT_HUB_AUTHORIZATION" in result.stderr
    assert "files: 'color' was left out." in result.stderr
    assert 'args = ["--token", "${TOKEN_ARG_2}", "--verbose"]' in written
    assert "typo" not in written
    assert "typo was left out: it has neither command nor url." in result.stderr


def test_the_command_is_there_only_with_its_plugin() -> None:
    Path("opspawn.toml").write_text('[plugins]\nblock = ["opspawn-mcp"]\n')

    result = opspawn("mcp", "list")

    assert result.exit_code == 2
    assert "which is blocked" in result.stderr
