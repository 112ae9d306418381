"""Every package is built alike, so that whoever knows one knows all."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
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


#: What the contract suites and crash tools of `opspawn.testing` need, which are for whoever has these anyway.
OF_TESTS = {"hypothesis", "pytest", "pytest-asyncio"}

#: What a package may import that only comes with something it asks for, since that is made of it.
BRINGS = {
    "pydantic": {"pydantic-core"},
    "fastapi": {"starlette"},
    "mcp": {"anyio", "httpcore2", "httpx2", "starlette"},
    "redis": {"hiredis"},  # which is asked for with its extra
}


def requirements(lines: list[str]) -> set[str]:
    """The distributions that lines such as `redis[hiredis]>=5` name."""
    return {canonical(re.split(r"[\s;<>=!~\[(]", line, maxsplit=1)[0]) for line in lines}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imports(path: Path) -> Iterator[str]:
    """The top-level modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


@in_every_package
def test_a_package_imports_only_what_it_asks_for(folder: Path) -> None:
    """Else it works here, beside all others, and fails where it is installed alone. In functions, too, which the tests
    with the core alone may not call. What the core asks for by itself is there for every plugin."""
    project = pyproject(folder)["project"]
    wanted = requirements(project["dependencies"]) | requirements(pyproject(FOLDERS[0])["project"]["dependencies"])
    wanted = wanted.union(*map(requirements, project.get("optional-dependencies", {}).values()))
    brought = {name for one in wanted for name in BRINGS.get(one, ())}
    # Of ours, which are installed as links to these folders, the metadata tell no modules.
    owners = {**importlib.metadata.packages_distributions(), **{module(ours): [ours.name] for ours in FOLDERS}}

    unasked = {}
    for path in (folder / "src").rglob("*.py"):
        may = wanted | brought | {folder.name} | (OF_TESTS if "testing" in path.parts else set())
        for name in set(imports(path)) - sys.stdlib_module_names:
            if not may & {canonical(owner) for owner in owners.get(name, [])}:
                unasked[str(path.relative_to(folder))] = name

    assert unasked == {}
