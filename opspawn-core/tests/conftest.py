"""What tests of the core share: a way to install a plugin for one test."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest

TESTS = Path(__file__).parent
INNER = {
    *("agentkit", "budget", "lifecycle", "logs", "memories", "ops", "policy", "rest", "schedules", "stores", "testing"),
    *("wakers", "workflows"),
}
"""Folders whose tests make what they need themselves: they pass or fail alike, whatever else is installed. The others
start the command line, read the configuration or load what is installed. That the core needs no other package is shown
by `test_alone.py`, and for each import by the tests of the house."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the core's innards."""
    for item in items:
        if TESTS in item.path.parents and item.path.relative_to(TESTS).parts[0] in INNER:
            item.add_marker("inner")


class Install(Protocol):
    """Distribution, entry points {name: module}, and the text of modules by name; returns the folder on the path."""

    def __call__(
        self, distribution: str, entries: Mapping[str, str], *, version: str = "1.0", **modules: str
    ) -> Path: ...


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a distribution on the path, as pip would: its metadata, its entry points, its modules."""
    before = set(sys.modules)

    def installed(distribution: str, entries: Mapping[str, str], *, version: str = "1.0", **modules: str) -> Path:
        folder = tmp_path / "site" / distribution
        info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = [f"{name} = {module}" for name, module in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[opspawn]", *lines, ""]))
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(textwrap.dedent(text))
        monkeypatch.syspath_prepend(folder)
        return folder

    yield installed
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
