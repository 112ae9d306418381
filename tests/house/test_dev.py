"""`dev` needs the standard library alone, notices what changed, and says plainly what is wrong."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def space(dev: ModuleType, root: Path, tmp_path: Path, packages: dict[str, Path]) -> Any:
    """A workspace of this repository's own project files, with an environment that looks finished."""
    for folder in packages.values():
        target = tmp_path / folder.relative_to(root)
        target.mkdir(parents=True)
        shutil.copy(folder / "pyproject.toml", target)
    for name in ("dev", "pyproject.toml", "constraints.txt"):
        shutil.copy(root / name, tmp_path)
    space = dev.Workspace(tmp_path)
    space.python.parent.mkdir(parents=True)
    space.python.symlink_to(sys.executable)
    space.finish({**space.wanted(), "uv": {}})
    return space


def call(root: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(root / "dev"), *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, timeout=30)


def test_it_imports_nothing_but_the_standard_library(root: Path) -> None:
    tree = ast.parse((root / "dev").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {
        name.partition(".")[0]
        for node in imports
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }

    assert names <= sys.stdlib_module_names


def test_help_lists_every_command_and_succeeds(dev: ModuleType, root: Path) -> None:
    done = call(root, "help")

    assert done.returncode == 0
    assert all(f"\n  {name} " in done.stdout for name in dev.COMMANDS)


def test_an_unknown_command_is_one_line_and_exit_code_2(root: Path) -> None:
    done = call(root, "tets")

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "there is no command 'tets'. Known: serve, test," in done.stderr


def test_no_command_is_one_line_and_exit_code_2(root: Path) -> None:
    done = call(root)

    assert done.returncode == 2
    assert done.stderr.startswith("dev: a command is missing. Known: ")


def test_an_unknown_benchmark_is_a_mistake_that_lists_the_known_ones(dev: ModuleType, space: Any) -> None:
    (space.root / "benchmarks").mkdir()
    (space.root / "benchmarks" / "durable_steps.py").touch()
    (space.root / "benchmarks" / "_shared.py").touch()

    with pytest.raises(dev.Usage, match=r"there is no benchmark 'durable'\. Known: durable-steps\."):
        dev.bench(space, ["durable"])


def test_a_part_of_a_name_is_no_environment_of_the_matrix(dev: ModuleType, root: Path) -> None:
    """tox would run nothing in it, and call that a success."""
    space = dev.Workspace(root)

    with pytest.raises(dev.Usage, match=r"there is no environment 'py311-planner'\. Known: all, .*py311-planner-react"):
        dev.matrix(space, ["py311-planner"])


def test_a_finished_environment_is_current(space: Any) -> None:
    assert space.is_current()


def test_an_environment_without_a_stamp_is_half_made(space: Any) -> None:
    space.stamp.unlink()

    assert not space.is_current()


def test_an_environment_with_a_torn_stamp_is_half_made(space: Any) -> None:
    space.stamp.write_text(space.stamp.read_text()[:20])

    assert not space.is_current()


def test_an_environment_whose_interpreter_is_gone_is_not_current(space: Any) -> None:
    space.python.unlink()
    space.python.symlink_to(space.root / "gone")

    assert not space.is_current()


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "dev", "opspawn-core/pyproject.toml"])
def test_a_changed_project_file_makes_the_environment_stale(space: Any, name: str) -> None:
    with (space.root / name).open("a") as file:
        file.write("# changed\n")

    assert not space.is_current()


def test_a_new_plugin_makes_the_environment_stale(space: Any) -> None:
    folder = space.root / "plugins" / "opspawn-tool-new"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("[project]\n")

    assert not space.is_current()


def test_an_environment_of_another_python_is_stale(space: Any) -> None:
    space.finish({**json.loads(space.stamp.read_text()), "python": "3.10"})

    assert not space.is_current()


def test_an_environment_that_was_moved_is_stale(space: Any) -> None:
    """Its scripts name the old folder."""
    space.finish({**json.loads(space.stamp.read_text()), "place": "/elsewhere"})

    assert not space.is_current()


def test_the_stamp_is_private(space: Any) -> None:
    """The address of an index may hold a password."""
    assert space.stamp.stat().st_mode & 0o077 == 0


def test_a_command_runs_inside_the_environment(space: Any) -> None:
    env = space.environment()

    assert env["VIRTUAL_ENV"] == str(space.venv)
    assert env["PATH"].split(os.pathsep)[0] == str(space.venv / "bin")


def test_what_the_user_set_for_uv_wins(space: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://mine.example/simple")

    env = space.environment({"UV_DEFAULT_INDEX": "https://pip.example/simple", "UV_NO_INDEX": "1"})

    assert env["UV_DEFAULT_INDEX"] == "https://mine.example/simple"
    assert env["UV_NO_INDEX"] == "1"


def test_uv_gets_the_index_that_pip_is_set_up_with(dev: ModuleType) -> None:
    listed = "global.index-url='https://a.example/simple'\nglobal.find-links='/one /two'\n"

    found = dev.uv_variables(dev.pip_settings(listed))

    assert found == {"UV_DEFAULT_INDEX": "https://a.example/simple", "UV_FIND_LINKS": "/one,/two"}


def test_several_indexes_are_searched_by_pips_rule(dev: ModuleType) -> None:
    listed = "global.extra-index-url='\\nhttps://a.example/simple\\nhttps://b.example/simple'\n"

    found = dev.uv_variables(dev.pip_settings(listed))

    assert found["UV_INDEX"] == "https://a.example/simple https://b.example/simple"
    assert found["UV_INDEX_STRATEGY"] == "unsafe-best-match"


def test_a_variable_of_pip_wins_over_its_files(dev: ModuleType) -> None:
    listed = ":env:.index-url='https://env.example'\nglobal.index-url='https://file.example'\ninstall.index-url='https://i.example'\n"

    assert dev.pip_settings(listed)["index-url"] == "https://env.example"


def test_a_folder_below_one_that_can_be_written_can_be_made(dev: ModuleType, tmp_path: Path) -> None:
    assert dev.writable(tmp_path / "not" / "there")


def test_folders_of_tests_go_where_there_is_room(dev: ModuleType, tmp_path: Path) -> None:
    assert dev.fit_for_tests(tmp_path, 1)
    assert not dev.fit_for_tests(tmp_path, 2**60)
    assert not dev.fit_for_tests(tmp_path / "not-there", 1)


def test_a_second_caller_waits_for_the_first(dev: ModuleType, root: Path, tmp_path: Path) -> None:
    script = (
        "import importlib.machinery as m, importlib.util as u, pathlib, sys\n"
        "loader = m.SourceFileLoader('dev', sys.argv[1]); sys.dont_write_bytecode = True\n"
        "dev = u.module_from_spec(u.spec_from_loader('dev', loader)); loader.exec_module(dev)\n"
        "with dev.lock(pathlib.Path(sys.argv[2])): print('mine')\n"
    )
    path = tmp_path / "lock"
    with dev.lock(path):
        command = [sys.executable, "-c", script, str(root / "dev"), str(path)]
        second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert second.stderr is not None
        waiting = second.stderr.readline()

    out, _ = second.communicate(timeout=30)
    assert "waiting for it" in waiting
    assert out == "mine\n"


def test_the_ci_runs_the_commands_of_the_readme_and_nothing_else(root: Path) -> None:
    script = (root / ".ci" / "run").read_text().splitlines()
    commands = [line for line in script if line.startswith("python3 ")]

    assert commands == ["python3 dev test", "python3 dev check &", "python3 dev matrix"]
    assert "set -euo pipefail" in script
    assert script[-1] == "wait $!", "else a failed check would be a success"
    assert os.access(root / ".ci" / "run", os.X_OK)


def test_pyenv_and_uv_find_every_python_by_its_minor_version(root: Path) -> None:
    """A patch number would name one that the next machine does not have."""
    versions = (root / ".python-version").read_text().split()

    assert versions == ["3.11", "3.12", "3.13"]


def test_a_command_keeps_the_bytecode_that_it_compiles(space: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")

    assert "PYTHONDONTWRITEBYTECODE" not in space.environment()
