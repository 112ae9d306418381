"""The stories that need code: build, install and run what users get. tox.ini holds the matrix of tests.

`python3 dev run -- nox -s NAME`, or `nox -l` for the list. Packages are found by folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import nox

nox.needs_version = ">=2026.4"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["build", "wheels"]
nox.options.error_on_missing_interpreters = "CI" in os.environ

ROOT = Path(__file__).resolve().parent
DIST = ROOT / "dist"
CONSTRAINTS = ROOT / "constraints.txt"
CONSTRAINTS_HEAD = """\
# The versions that the tests run with, for every Python and platform that we support. Names no index and holds no
# hashes (editable installs cannot have them). Made by `python3 dev run -- nox -s constraints`; not edited by hand.
"""
NOT_FROM_HERE = "import opspawn, sys; assert not opspawn.__file__.startswith(sys.argv[1]), opspawn.__file__"


def packages() -> dict[Path, dict[str, Any]]:
    """Every package's folder with its `[project]` table, the core first."""
    folders = [ROOT / "opspawn-core", *sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))]
    return {folder: tomllib.loads((folder / "pyproject.toml").read_text())["project"] for folder in folders}


def wheel_of(project: dict[str, Any]) -> Path:
    """The wheel of a package at its present version."""
    name = f"{project['name'].replace('-', '_')}-{project['version']}-py3-none-any.whl"
    path = DIST / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; run `nox -s build` first.")
    return path


@nox.session(venv_backend="none")
def build(session: nox.Session) -> None:
    """Build the wheel and the sdist of every package into dist/."""
    shutil.rmtree(DIST, ignore_errors=True)
    for folder in packages():
        pinned = ["--build-constraint", str(CONSTRAINTS)]
        session.run("uv", "build", "--quiet", *pinned, "--out-dir", str(DIST), str(folder), external=True)
    for path in sorted(DIST.glob("opspawn*")):
        session.log(f"{path.stat().st_size:>9,} bytes  {path.name}")


@nox.session
def wheels(session: nox.Session) -> None:
    """Install the wheels alone, as a user would, and run the quickstart from them, far from this folder."""
    wanted = []
    for folder, project in packages().items():
        extra = "[quickstart]" if folder.name == "opspawn-core" else ""
        wanted.append(f"{project['name']}{extra} @ {wheel_of(project).as_uri()}")
    session.install("--constraint", str(CONSTRAINTS), *wanted)

    with tempfile.TemporaryDirectory(prefix="opspawn-wheels-") as away:
        place = Path(away) / "quickstart"
        shutil.copytree(ROOT / "examples" / "quickstart", place, ignore=shutil.ignore_patterns(".opspawn", "reports"))
        with session.chdir(place):
            session.run("python", "-c", NOT_FROM_HERE, str(ROOT / "opspawn-core"))
            session.run("opspawn", "plugins", "list")
            session.run("opspawn", "run", "app:app", "helper", "How do I reset a token?")


@nox.session(venv_backend="none")
def constraints(session: nox.Session) -> None:
    """Resolve constraints.txt anew, to the newest versions that fit, for every Python at once."""
    projects = packages()
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--upgrade", "--all-extras", "--group", "dev"]
    command += ["--python-version", "3.11", "--no-header", "--no-annotate"]
    for project in projects.values():
        command += ["--no-emit-package", project["name"]]
    listed = session.run(*command, *(str(folder / "pyproject.toml") for folder in projects), external=True, silent=True)
    CONSTRAINTS.write_text(CONSTRAINTS_HEAD + str(listed))
