"""Every package is built alike, so that whoever knows one knows all."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [ROOT / "opspawn-core", *sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))]
PLUGINS = FOLDERS[1:]
in_every_package = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
in_every_plugin = pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)


def pyproject(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text())


def module(folder: Path) -> str:
    return "opspawn" if folder.name == "opspawn-core" else folder.name.replace("-", "_")


def test_every_folder_under_plugins_is_a_package(root: Path) -> None:
    folders = {path for path in (root / "plugins").iterdir() if path.is_dir() and not path.name.startswith(".")}

    assert folders == set(PLUGINS)


@in_every_package
@pytest.mark.parametrize("name", ["README.md", "LICENSE", "CHANGELOG.md", "changelog.d", "src", "tests"])
def test_a_package_has_what_each_package_has(folder: Path, name: str) -> None:
    assert (folder / name).exists()


@in_every_package
def test_a_package_carries_the_licence_of_the_whole(folder: Path, root: Path) -> None:
    assert (folder / "LICENSE").read_text() == (root / "LICENSE").read_text()
    assert pyproject(folder)["project"]["license"] == "Apache-2.0"


@in_every_package
def test_a_package_is_typed(folder: Path) -> None:
    assert (folder / "src" / module(folder) / "py.typed").is_file()


@in_every_package
def test_a_package_is_named_after_its_folder_and_its_module_after_the_package(folder: Path) -> None:
    project = pyproject(folder)

    assert project["project"]["name"] == folder.name
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [f"src/{module(folder)}"]


@in_every_package
def test_every_package_runs_on_the_same_pythons(folder: Path, root: Path) -> None:
    versions = (root / ".python-version").read_text().split()
    project = pyproject(folder)["project"]

    assert project["requires-python"] == f">={versions[0]}"
    stated = [line.rpartition(" :: ")[2] for line in project["classifiers"] if "Python :: 3." in line]
    assert stated == versions


@in_every_package
def test_sources_of_the_workspace_are_named_at_the_root_only(folder: Path) -> None:
    """Repeated in a member, they break installing that member from anywhere else."""
    assert "uv" not in pyproject(folder).get("tool", {})


@in_every_package
def test_a_changelog_fragment_says_in_its_name_what_kind_of_change_it_is(folder: Path) -> None:
    for fragment in (folder / "changelog.d").iterdir():
        kind = fragment.suffixes[-2:-1]
        assert kind in (["." + word] for word in ("added", "changed", "deprecated", "removed", "fixed", "security"))
        assert fragment.suffix == ".md"
        assert fragment.read_text().strip()


@in_every_plugin
def test_a_plugin_asks_for_a_range_of_the_core(folder: Path) -> None:
    """An open range would let the next incompatible core break an installed plugin."""
    wanted = [line for line in pyproject(folder)["project"]["dependencies"] if line.startswith("opspawn-core")]

    assert len(wanted) == 1
    assert ">=" in wanted[0]
    assert "<" in wanted[0]


@in_every_plugin
def test_a_plugin_needs_no_other_plugin(folder: Path) -> None:
    wanted = pyproject(folder)["project"]["dependencies"]

    assert [line for line in wanted if line.startswith("opspawn-") and not line.startswith("opspawn-core")] == []


@in_every_plugin
def test_a_plugin_comes_in_through_its_own_module(folder: Path) -> None:
    entries = pyproject(folder)["project"]["entry-points"]["opspawn"]

    assert {value.partition(":")[0].partition(".")[0] for value in entries.values()} == {module(folder)}
