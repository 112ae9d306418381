"""The names that users hold: listed once more for types, and each where the list says."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import opspawn
import opspawn.agentkit
import opspawn.testing

FACES = pytest.mark.parametrize("face", [opspawn, opspawn.agentkit, opspawn.testing], ids=lambda face: face.__name__)


def for_types(face: ModuleType) -> dict[str, str]:
    """Name to module, as a type checker sees the face."""
    assert face.__file__ is not None
    body = ast.parse(Path(face.__file__).read_text(encoding="utf-8")).body
    found = [node for branch in body if isinstance(branch, ast.If) for node in branch.body]
    imports = [node for node in found if isinstance(node, ast.ImportFrom) and node.module]
    named = {alias.name: str(node.module) for node in imports for alias in node.names}
    return {name: module for name, module in named.items() if module.startswith("opspawn")}


@FACES
def test_a_name_is_what_a_type_checker_takes_it_for(face: ModuleType) -> None:
    expected = for_types(face)

    assert sorted(face.__all__) == sorted(expected)
    for name, module in expected.items():
        assert getattr(face, name) is getattr(import_module(module), name)


@FACES
def test_a_name_that_is_not_there_is_told_as_python_does(face: ModuleType) -> None:
    with pytest.raises(AttributeError, match=f"module '{face.__name__}' has no attribute 'Agnet'"):
        face.Agnet  # noqa: B018


def test_importing_the_package_imports_nothing_that_it_shows() -> None:
    """So that a command pays for what it needs, and a program for what it names."""
    code = "import sys, opspawn; print([name for name in sys.modules if name.startswith(('opspawn.', 'pydantic'))])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "['opspawn.faces']\n"
