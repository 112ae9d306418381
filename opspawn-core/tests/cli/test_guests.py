"""Commands that plugins bring: found when they are called, never in the way of the core's own."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from opspawn.cli import main, output
from opspawn.contracts.plugins import CommandPlugin
from opspawn.plugins import Plugins
from opspawn.plugins.status import Found


@click.command("greet")
def greet() -> None:
    click.echo("hello")


@pytest.fixture(autouse=True)
def with_a_plugin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An installed plugin that brings `greet`, and one that would like to be `run`."""
    records = [("command", CommandPlugin(name, lambda: greet)) for name in ("greet", "run")]
    found = Plugins([Found(EntryPoint("guest", "guest", "opspawn"), "guest", "1", records=records)])
    monkeypatch.setattr(output, "installed", lambda loaded: found)
    monkeypatch.chdir(tmp_path)


def test_a_command_of_a_plugin_is_called_by_its_name() -> None:
    result = CliRunner().invoke(main, ["greet"])

    assert (result.exit_code, result.output) == (0, "hello\n")


def test_no_plugin_replaces_a_command_of_the_core() -> None:
    assert "Run AGENT" in CliRunner().invoke(main, ["run", "--help"]).output


def test_a_command_that_nobody_brings_is_told_with_what_is_near() -> None:
    result = CliRunner().invoke(main, ["tsaks"])

    assert result.exit_code == 2
    assert "Did you mean" in result.output


def test_a_misspelt_command_is_told_so_though_the_configuration_is_broken() -> None:
    Path("opspawn.toml").write_text("nonsense = [")

    assert "No such command" in CliRunner().invoke(main, ["tsaks"]).output


def test_a_plugin_that_is_known_and_not_installed_is_named() -> None:
    result = CliRunner().invoke(main, ["mcp", "list"])

    assert "Run: pip install opspawn-mcp" in result.output
