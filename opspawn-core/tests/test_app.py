"""An app is what a user's file declares; whatever is wrong with the file is one line with its place and the remedy."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from opspawn import Agent, App, tool
from opspawn.app import load_app
from opspawn.errors import AppError

GOOD = "from opspawn import Agent, App\napp = App(agents=[Agent('helper', model='replay:x')])\n"


@pytest.fixture(autouse=True)
def imports() -> Iterator[None]:
    """Nothing that a test imports stays."""
    before, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]
    sys.path[:] = path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "desk.py").write_text(GOOD)
    return tmp_path


@pytest.mark.parametrize("spec", ["desk:app", "desk", "desk.py:app", "desk.py"])
def test_an_app_is_found_by_module_or_file_with_or_without_its_name(folder: Path, spec: str) -> None:
    app = load_app(spec, folder)

    assert list(app.agents) == ["helper"]
    assert app.root == folder


def test_an_app_in_a_package_is_found(tmp_path: Path) -> None:
    (tmp_path / "desks").mkdir()
    (tmp_path / "desks" / "__init__.py").write_text("")
    (tmp_path / "desks" / "first.py").write_text(GOOD)

    assert list(load_app("desks.first:app", tmp_path).agents) == ["helper"]


def test_the_file_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "names_of_desk.py").write_text("NAME = 'helper'\n")
    (tmp_path / "desk.py").write_text("from names_of_desk import NAME\n" + GOOD.replace("'helper'", "NAME"))

    assert list(load_app("desk.py", tmp_path).agents) == ["helper"]


@pytest.mark.parametrize(
    ("text", "spec", "words"),
    [
        (GOOD, "none:app", "There is no module 'none' in {folder}. Name the app as module:attribute"),
        (GOOD, "none.py", "There is no file {folder}/none.py. Name an existing app file"),
        (GOOD, "no.such.module:app", "There is no module 'no.such.module' in {folder}."),
        (GOOD, "desk:none", "{folder}/desk.py has no 'none'. Choose one of: desk:app."),
        (GOOD, "desk:Agent", "'Agent' in {folder}/desk.py is of the type type, not an App. Choose one of: desk:app."),
        (GOOD, ":app", "':app' names no app. Write it as module:attribute"),
        ("x = 1\n", "desk", "{folder}/desk.py holds no App. Make one, e.g. app = App(agents=[...])."),
        (GOOD + "other = App()\n", "desk", "{folder}/desk.py holds 2 Apps. Choose one of: desk:app, desk:other."),
        ("def broken(:\n", "desk", "{folder}/desk.py:1: invalid syntax. Mend the syntax of the app file."),
        ("x = 1\nimport nothing_here\n", "desk", "{folder}/desk.py:2: there is no module 'nothing_here'. Install"),
        ("x = 1\n\n1 / 0\n", "desk.py", "{folder}/desk.py:3: ZeroDivisionError: division by zero. Mend the app file"),
        ("raise SystemExit(3)\n", "desk", "{folder}/desk.py:1: SystemExit: 3. Mend the app file"),
    ],
)
def test_whatever_is_wrong_is_one_line(tmp_path: Path, text: str, spec: str, words: str) -> None:
    (tmp_path / "desk.py").write_text(text)

    with pytest.raises(AppError) as caught:
        load_app(spec, tmp_path)

    assert str(caught.value).startswith(words.format(folder=tmp_path))
    assert "\n" not in str(caught.value)


def test_the_place_is_a_line_of_the_app_even_if_the_packages_lie_in_its_folder(tmp_path: Path) -> None:
    """As after `python3 -m venv .venv` in the folder of the app."""
    packages = tmp_path / ".venv" / "lib" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "strict.py").write_text("def check(): raise ValueError('no')\n")
    sys.path.insert(0, str(packages))
    (tmp_path / "desk.py").write_text("import strict\n\nstrict.check()\n")

    with pytest.raises(AppError, match=r"/desk\.py:3: ValueError: no"):
        load_app("desk", tmp_path)


def test_two_agents_of_one_name_are_refused() -> None:
    with pytest.raises(AppError, match=r"Two agents of the app are named 'a'\. Give one another name"):
        App(agents=[Agent("a"), Agent("b"), Agent("a")])


def test_two_tools_of_one_name_are_refused() -> None:
    @tool(name="look")
    async def one() -> None:
        return None

    @tool(name="look")
    async def other() -> None:
        return None

    with pytest.raises(AppError, match="Two tools of the app are named 'look'"):
        App(tools=[one, other])


def test_plain_functions_become_tools() -> None:
    async def look() -> None:
        """Look."""

    app = App(tools=[look])

    assert app.tools["look"].effect == "once"


def test_workflow_files_lie_beside_the_file_that_makes_the_app() -> None:
    app = App(workflows=["flows/one.yaml"])

    assert app.workflows == (Path(__file__).resolve().parent / "flows" / "one.yaml",)
    assert repr(app) == "<App agents=[] workflows=['one']>"
