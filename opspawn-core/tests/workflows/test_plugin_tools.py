"""Workflows use the tools of plugins that the app names."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from opspawn import App, tool
from opspawn.agentkit import Kit
from opspawn.catalog import Catalog
from opspawn.contracts.plugins import ToolPlugin
from opspawn.errors import AppError, InvalidInput
from opspawn.plugins import Plugins
from opspawn.plugins.status import Found


@tool(effect="idempotent")
async def courier(to: str) -> str:
    """Send a parcel."""
    return f"sent to {to}"


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    path = tmp_path / "send.yaml"
    path.write_text('opspawn: "1"\nname: send\nsteps:\n  ship: {uses: tool/courier, with: {to: ada}}\n')
    return path


def kit() -> Kit:
    record = ToolPlugin("courier", lambda _: courier)
    return Kit(Plugins([Found(EntryPoint("given", "given", "opspawn"), "given", "1", records=[("tool", record)])]))


def test_a_tool_of_a_plugin_is_named_in_the_app(flow: Path) -> None:
    app = App(tools=["courier"], workflows=[flow])

    assert "send" in Catalog(app, kit(), runs=True).workflows


def test_one_that_the_app_does_not_name_is_told_with_what_to_write(flow: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        Catalog(App(workflows=[flow]), kit(), runs=True)

    assert "App(tools=['courier'])" in str(caught.value.faults)


def test_what_is_no_tool_is_named_in_the_words_of_the_app() -> None:
    with pytest.raises(AppError, match="App has 5 among its tools"):
        App(tools=[5])  # type: ignore[list-item]


def test_a_name_that_a_tool_of_the_app_has_is_refused() -> None:
    with pytest.raises(AppError, match="Two tools of the app are named 'courier'"):
        App(tools=[courier, "courier"])
