"""`opspawn plugins`: every installed plugin, what became of it and what it gives."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from opspawn.cli import main

FIELDS = {"name", "distribution", "version", "module", "status", "gives", "error", "builtin"}


def invoke(*args: str) -> Result:
    return CliRunner().invoke(main, args, prog_name="opspawn")


def listed() -> dict[str, Any]:
    result = invoke("plugins", "list", "--json")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return {item["name"]: item for item in json.loads(result.stdout)}


def test_list_shows_the_builtins_in_a_stable_shape() -> None:
    found = listed()

    assert all(set(item) == FIELDS for item in found.values())
    assert (found["sqlite"]["status"], found["sqlite"]["gives"]) == ("loaded", {"store": ["sqlite"]})


def test_list_shows_failures_and_blocks_with_their_reason(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    install("broken-plugin", {"broken": "broken_cli"}, broken_cli="import no_such_thing\n")
    install("unwanted-plugin", {"unwanted": "unwanted_cli"}, unwanted_cli="1 / 0\n")
    monkeypatch.setenv("OPSPAWN_PLUGINS", "-unwanted-plugin")

    found, text = listed(), invoke("plugins", "list").stdout

    assert found["broken"]["status"] == "failed"
    assert "No module named 'no_such_thing'" in found["broken"]["error"]
    assert (found["unwanted"]["status"], found["unwanted"]["error"]) == ("blocked", "plugins.block names it.")
    assert "No module named 'no_such_thing'" in text


def test_safe_mode_leaves_the_builtins_alone(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    install("acme-plugin", {"acme": "acme_cli"}, acme_cli="1 / 0\n")
    monkeypatch.setenv("OPSPAWN_PLUGINS", "none")

    found = listed()

    assert found["acme"]["status"] == "blocked"
    assert {item["builtin"] for item in found.values() if item["status"] == "loaded"} == {True}


def test_a_table_for_other_programs_is_tab_separated() -> None:
    first, *rest = invoke("plugins", "list").stdout.splitlines()

    assert first.split("\t")[:3] == ["NAME", "STATUS", "GIVES"]
    assert any(line.split("\t")[0] == "sqlite" for line in rest)


def test_show_tells_what_a_plugin_gives_and_its_settings() -> None:
    shown = json.loads(invoke("plugins", "show", "sqlite", "--json").stdout)

    (record,) = shown["records"]
    assert (record["kind"], record["name"]) == ("store", "sqlite")
    assert "plugins.sqlite.synchronous" in {setting["key"] for setting in record["settings"]}
    assert "plugins.sqlite.synchronous" in invoke("plugins", "show", "sqlite").stdout


def test_show_tells_what_is_wrong(install: Any) -> None:
    install("broken-plugin", {"broken": "broken_show"}, broken_show="def opspawn_tolls(): return []\n")

    text = invoke("plugins", "show", "broken").stdout

    assert "broken: failed" in text
    assert "Did you mean 'opspawn_tools'?" in text


def test_show_of_an_unknown_plugin_is_wrong_usage() -> None:
    result = invoke("plugins", "show", "sqlit")

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "Error: There is no plugin 'sqlit'. Did you mean 'sqlite'?\n"
