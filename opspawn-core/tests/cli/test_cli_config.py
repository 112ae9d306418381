"""`opspawn config`: what is in force, from where, and the schema."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from opspawn.cli import main
from opspawn.config.settings import WorkerSettings

SECRET = "hunter22"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPSPAWN_PLUGINS", "none")
    return tmp_path


def invoke(*args: str) -> Result:
    return CliRunner().invoke(main, args, prog_name="opspawn")


def answer(*args: str) -> Any:
    result = invoke(*args)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout)


def test_show_prints_what_opspawn_toml_would_hold(folder: Path) -> None:
    (folder / "opspawn.toml").write_text("model = 'openai:gpt-5'\n[plugins.sqlite]\npath = 'my.db'\n")

    shown = tomllib.loads(invoke("config", "show", "--sources").stdout)

    assert shown["model"] == "openai:gpt-5"
    assert shown["worker"]["slots"] == WorkerSettings().slots
    assert shown["plugins"] == {"allow": [], "block": [], "sqlite": {"path": "my.db"}}


def test_show_tells_where_each_value_comes_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "opspawn.toml").write_text("store = 'sqlite'\n[plugins.sqlite]\nsynchronous = 'normal'\n")
    monkeypatch.setenv("OPSPAWN_WORKER__SLOTS", "9")

    shown = answer("config", "show", "--sources", "--json")

    assert shown["file"] == str(folder / "opspawn.toml")
    assert shown["settings"]["worker"]["slots"] == 9
    assert shown["sources"]["worker.slots"] == "OPSPAWN_WORKER__SLOTS"
    assert shown["sources"]["plugins.sqlite.synchronous"] == "opspawn.toml"
    assert shown["sources"]["waker"] == "default"
    text = invoke("config", "show", "--sources").stdout
    assert any(
        line.startswith("worker.slots = 9") and line.endswith("# OPSPAWN_WORKER__SLOTS") for line in text.splitlines()
    )


def test_secrets_are_never_shown(folder: Path, install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    install(
        "keyed-plugin",
        {"keyed": "keyed_one"},
        keyed_one="""
        from opspawn.contracts.plugins import PluginConfig, ToolPlugin
        from opspawn.hookspecs import hookimpl

        class Section(PluginConfig):
            api_key: str = ""
            url: str = ""

        @hookimpl
        def opspawn_tools():
            yield ToolPlugin("keyed", open=print, config=Section)
    """,
    )
    monkeypatch.setenv("OPSPAWN_PLUGINS", "keyed-plugin")
    monkeypatch.setenv("KEY", SECRET)
    (folder / "opspawn.toml").write_text(f"[plugins.keyed]\napi_key = '${{KEY}}'\nurl = 'redis://me:{SECRET}@host'\n")

    for command in (["config", "show"], ["config", "show", "--json", "--sources"]):
        result = invoke(*command)
        assert result.exit_code == 0
        assert SECRET not in result.output
        assert "***" in result.stdout


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("stoer = 1", "Error: opspawn.toml: there is no setting 'stoer'. Did you mean 'store'?"),
        ("[plugins.sqlite]\nsynchronous = 'never'", 'plugins.sqlite.synchronous must be "full" or "normal"'),
        ("[plugins.nobody]\nx = 1", "[plugins.nobody] belongs to no installed plugin."),
        ("[plugins.sqlite]\npath = '${NO_SUCH}'", "NO_SUCH is not set."),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(folder: Path, text: str, told: str) -> None:
    (folder / "opspawn.toml").write_text(text)

    result = invoke("config", "show")

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert told in result.stderr


def test_the_file_can_be_named_on_the_command_line(folder: Path) -> None:
    (folder / "other.toml").write_text("app = 'mine:app'\n")

    assert answer("--config", "other.toml", "config", "show", "--json")["settings"]["app"] == "mine:app"
    missing = invoke("--config", "nowhere.toml", "config", "show")
    assert (missing.exit_code, missing.stdout) == (2, "")
    assert missing.stderr.startswith("Error: --config: there is no file 'nowhere.toml'.")


def test_the_schema_describes_every_setting_and_the_sections_of_plugins(folder: Path) -> None:
    schema = answer("config", "schema")

    tables = [schema, *(schema["$defs"][name] for name in ("WorkerSettings", "LogSettings", "PluginSettings"))]
    for table in tables:
        assert table["additionalProperties"] is False
        for name, field in table["properties"].items():
            assert field.get("description"), name
    assert schema["$defs"]["PluginSettings"]["properties"]["sqlite"]["properties"]["synchronous"]["enum"] == [
        "full",
        "normal",
    ]


def test_the_schema_of_a_file_that_declares_an_agent_knows_each_of_its_keys() -> None:
    schema = answer("config", "schema", "--agent")

    assert {"name", "model", "tools", "instructions", "budget", "memory", "window"} <= schema["properties"].keys()
    assert schema["additionalProperties"] is False
    assert all("description" in one for one in schema["properties"].values())
