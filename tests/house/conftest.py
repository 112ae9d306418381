"""The repository as the tests of the house see it."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def settings() -> dict[str, Any]:
    """The root's pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="session")
def packages() -> dict[str, Path]:
    """Every package's folder by its short name, as the matrix calls it: core, planner-react, ..."""
    folders = [ROOT / "opspawn-core", *(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))]
    return {folder.name.removeprefix("opspawn-"): folder for folder in folders}


@pytest.fixture(scope="session")
def dev() -> ModuleType:
    """The script `dev`, as a module."""
    loader = importlib.machinery.SourceFileLoader("dev", str(ROOT / "dev"))
    spec = importlib.util.spec_from_loader("dev", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module
