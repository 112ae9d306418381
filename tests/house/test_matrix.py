"""Nothing is forgotten: each package stands in every list that cannot find packages by itself."""

from __future__ import annotations

import configparser
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="module")
def tox(root: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string((root / "tox.ini").read_text())
    return parser


def expand(text: str) -> list[str]:
    """tox's braces: `py{311,312}-{core,x}` as four names."""
    parts = [part.split(",") for part in re.split(r"[{}]", text)]
    return ["".join(choice) for choice in itertools.product(*parts)]


#: Packages that are tested with the oldest and the latest of what they need, beside the usual.
VARIANTS = {name: (f"{name}-oldest", f"{name}-latest") for name in ("store-redis", "mcp", "memory-lancedb")}


def environments(packages: dict[str, Path]) -> list[str]:
    """What the matrix calls the packages."""
    return [name for package in packages for name in VARIANTS.get(package, (package,))]


def pythons(root: Path) -> list[str]:
    return (root / ".python-version").read_text().split()


def test_the_matrix_has_every_package_on_every_python(
    tox: configparser.ConfigParser, root: Path, packages: dict[str, Path]
) -> None:
    listed = {name for line in tox["tox"]["env_list"].split() for name in expand(line)}
    short = [version.replace(".", "") for version in pythons(root)]

    assert listed - {"lint", "types"} == {f"py{python}-{name}" for python in short for name in environments(packages)}


def test_an_environment_of_the_matrix_installs_its_package_and_the_core_alone(
    tox: configparser.ConfigParser, packages: dict[str, Path]
) -> None:
    installed: dict[str, set[str]] = {}
    for line in tox["testenv"]["deps"].split("\n"):
        if " -e " in line:
            factor, _, what = line.partition(": -e {tox_root}/")
            installed.setdefault(factor, set()).add(what.partition("[")[0])

    plugins = {name: {"opspawn-core", f"plugins/{folder.name}"} for name, folder in packages.items() if name != "core"}
    assert installed == {"core": {"opspawn-core"}, **plugins}


def test_an_environment_of_the_matrix_runs_the_tests_of_its_package(
    tox: configparser.ConfigParser, root: Path, packages: dict[str, Path]
) -> None:
    lines = [line for line in tox["testenv"]["commands"].split("\n") if line]

    wanted = {
        name: f"{name}: python -m pytest {folder.relative_to(root)}/tests {{posargs}}"
        for name, folder in packages.items()
    }
    assert sorted(lines) == sorted(wanted.values())


def test_lint_and_types_see_every_package(
    tox: configparser.ConfigParser, root: Path, packages: dict[str, Path]
) -> None:
    deps = tox["testenv:{lint,types}"]["deps"]

    assert all(f"{{tox_root}}/{folder.relative_to(root)}" in deps for folder in packages.values())


def test_the_layers_are_checked_for_every_package(settings: dict[str, Any], packages: dict[str, Path]) -> None:
    plugins = {folder.name.replace("-", "_") for name, folder in packages.items() if name != "core"}
    linter = settings["tool"]["importlinter"]
    contracts = {contract["type"] + "/" + contract["name"]: contract for contract in linter["contracts"]}

    assert set(linter["root_packages"]) == {"opspawn", *plugins}
    assert set(contracts["forbidden/The core never imports a plugin"]["forbidden_modules"]) == plugins
    assert set(contracts["independence/Plugins never import each other"]["modules"]) == plugins


def test_the_workspace_resolves_every_package_to_its_folder(
    settings: dict[str, Any], packages: dict[str, Path]
) -> None:
    sources = settings["tool"]["uv"]["sources"]

    assert sources == {folder.name: {"workspace": True} for folder in packages.values()}


def test_the_workflow_runs_the_same_matrix(root: Path, packages: dict[str, Path]) -> None:
    jobs = yaml.safe_load((root / ".github" / "workflows" / "ci.yml").read_text())["jobs"]

    matrix = jobs["matrix"]["strategy"]["matrix"]
    assert matrix["python"] == pythons(root)
    assert sorted(matrix["package"]) == sorted(environments(packages))
    assert jobs["whole"]["strategy"]["matrix"] == {"python": pythons(root)}


def test_workflows_may_only_read_and_pin_their_actions_by_major_version(root: Path) -> None:
    for path in (root / ".github" / "workflows").glob("*.yml"):
        text = path.read_text()

        assert yaml.safe_load(text)["permissions"] == {"contents": "read"}, path.name
        for action in re.findall(r"uses: (\S+)", text):
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", action), f"{path.name}: {action}"


def test_every_workflow_job_has_a_time_limit(root: Path) -> None:
    for path in (root / ".github" / "workflows").glob("*.yml"):
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            assert "timeout-minutes" in job, f"{path.name}: {name}"
