"""What commands say: in their own words for options and states, in one line, with a remedy."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from opspawn.cli import main
from opspawn.cli.lazy import explain
from opspawn.cli.views import tell_halt
from opspawn.contracts.lifecycle import AgentState, SessionState
from opspawn.contracts.store import Task, TaskState
from opspawn.errors import InvalidInput

APP = """
from opspawn import App


async def hello(context):
    return "hello"


async def boom(context):
    raise ValueError("two\\nlines")


app = App(functions={"hello": hello, "boom": boom})
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an app of one function."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wordsapp.py").write_text(APP)
    (tmp_path / "opspawn.toml").write_text('app = "wordsapp.py:app"\n')
    return tmp_path


def invoke(*args: str) -> Result:
    return CliRunner().invoke(main, args, prog_name="opspawn")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--deadline", "-1"], "Error: --deadline is -1.0; seconds above 0, at most 100 years, are meant."),
        (["--timeout", "0"], "Error: --timeout is 0.0; seconds above 0"),
        (["--idle-timeout", "0"], "Error: --idle-timeout is 0.0; seconds above 0"),
        (["--delay", "-1"], "Error: --delay is -1.0; seconds from 0 to 100 years are meant."),
        (["--priority", "1001"], "Error: --priority is 1001; a whole number"),
        (["--queue", "a b"], "Error: --queue is 'a b'; an id is 1 to 200 letters"),
        (["--session", "/../"], "Error: --session is '/../'; an id is 1 to 200 letters"),
        (["--idempotency-key", "x" * 201], "Error: --idempotency-key is 'xxx"),
        (["--label", "a b=c"], "Error: --label is {'a b': 'c'}; a name is 1 to 200 letters"),
    ],
)
def test_a_bad_option_is_named_as_it_is_written(options: list[str], words: str) -> None:
    result = invoke("tasks", "enqueue", "function/hello", *options)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert words in result.stderr


def test_a_bad_argument_is_called_by_its_name_in_python_there() -> None:
    error = InvalidInput("is -1; more is meant.", argument="deadline_s", remedy="Give more.")
    assert str(error) == "deadline_s is -1; more is meant. Give more."
    assert explain(error) == ("--deadline is -1; more is meant. Give more.", 2)
    assert error.named("deadlineS").message == "deadlineS is -1; more is meant."


def test_no_state_makes_a_sentence_stumble() -> None:
    assert [state.words for state in TaskState] == [
        "is queued",
        "is running",
        "is waiting",
        "is paused",
        "is in doubt",
        "has succeeded",
        "has failed",
        "is cancelled",
    ]
    assert SessionState.ERROR.words == "has ended in error"
    assert AgentState.ERROR.words == "is in error"


def test_a_workflow_that_is_not_there_comes_with_what_to_do() -> None:
    result = invoke("workflows", "trigger", "nope")
    assert result.exit_code == 2
    assert (
        "There is no workflow 'nope'. There is none: name files in App(workflows=[...]), or store one" in result.stderr
    )


def test_a_task_is_shown_without_what_it_does_not_have() -> None:
    id = invoke("tasks", "enqueue", "function/hello").stdout.strip()
    shown = invoke("tasks", "show", id).stdout
    assert "doubts" not in shown
    told = json.loads(invoke("tasks", "show", id, "--json").stdout)
    assert (told["doubts"], told["failures"], "attempt" in told) == ([], 0, False)


def test_an_error_of_several_lines_is_told_in_one() -> None:
    result = invoke("run", "function/boom")
    assert result.exit_code == 1
    assert "Error: the run failed: ValueError: two lines\n" in result.stderr


def test_an_approval_that_is_not_there_is_called_one() -> None:
    assert invoke("tasks", "enqueue", "function/hello").exit_code == 0
    result = invoke("approvals", "approve", "q-nope")
    assert result.stderr == "Error: There is no approval 'q-nope'. See 'opspawn approvals list'.\n"


def test_a_word_too_many_is_a_whole_sentence() -> None:
    result = invoke("config", "show", "nope")
    assert result.stderr == "Error: Got unexpected extra argument (nope). Try 'opspawn config show --help'.\n"


@pytest.mark.parametrize(
    ("name", "arguments", "advice"),
    [
        ("pay", {"amount": 1}, '@tool(effect="idempotent")'),
        ("bank__send-money", {"amount": 1}, '[plugins.mcp.servers.bank]\n  effects = { "send-money" = "idempotent" }'),
        (
            "mcp",
            {"action": "call", "tool": "bank/pay"},
            '[plugins.mcp.servers.bank]\n  effects = { "pay" = "idempotent" }',
        ),
    ],
)
def test_who_has_a_call_in_doubt_is_told_where_its_effect_is_said(
    name: str, arguments: dict[str, object], advice: str
) -> None:
    """A user of MCP servers writes settings, and no decorators."""
    doubt = {"key": "k", "kind": "tool", "name": name, "arguments": arguments}
    moment = datetime(2026, 11, 26, tzinfo=UTC)
    task = Task("t1", "agent/clerk", "t1", state=TaskState.IN_DOUBT, error=doubt, created=moment, updated=moment)

    said = tell_halt(task)

    assert advice in said
    assert ("@tool" in said) is (name == "pay")
    assert "opspawn tasks resolve t1 --not-happened" in said
