"""constraints.txt fixes every version and betrays no machine."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def lines(root: Path) -> list[str]:
    text = (root / "constraints.txt").read_text()
    return [line for line in text.splitlines() if not line.startswith("#")]


def normal(requirement: str) -> str:
    """The normalised name that a requirement asks for."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;@]", requirement, maxsplit=1)[0]).lower()


def test_a_line_is_a_name_a_version_and_at_most_a_marker(lines: list[str]) -> None:
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.+]*( ; [a-z_]+ .+)?", line), line


def test_it_names_no_index_no_hash_and_no_folder(lines: list[str]) -> None:
    """Hashes cannot be combined with editable installs; addresses would tell where the file was made."""
    for line in lines:
        assert not re.search(r"://|/|--|sha256", line), line


def test_it_holds_none_of_our_own_packages(lines: list[str]) -> None:
    assert [line for line in lines if line.startswith("opspawn")] == []


def test_it_fixes_everything_that_a_package_or_a_tool_asks_for(
    lines: list[str], settings: dict[str, Any], packages: dict[str, Path]
) -> None:
    wanted = [line for group in settings["dependency-groups"].values() for line in group if isinstance(line, str)]
    for folder in packages.values():
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        wanted += project["dependencies"]
        wanted += [line for extra in project.get("optional-dependencies", {}).values() for line in extra]
    fixed = {normal(line) for line in lines}

    missing = {normal(line) for line in wanted} - fixed
    assert sorted(name for name in missing if not name.startswith("opspawn-")) == [], (
        "run `python3 dev run -- nox -s constraints`"
    )


def test_no_lock_file_is_kept(root: Path) -> None:
    """A lock file would name the registry of whoever made it."""
    assert "uv.lock" in (root / ".gitignore").read_text().split()


def test_the_matrix_leaves_out_only_what_it_varies(lines: list[str], root: Path) -> None:
    varied = {"arq", "hiredis", "mcp", "mcp-types", "pyjwt", "redis"}
    varied |= {"lance-namespace", "lance-namespace-urllib3-client", "lancedb"}
    text = (root / "plugins/opspawn-store-redis/tests/constraints.txt").read_text()

    listed = [line for line in text.splitlines() if not line.startswith("#")]
    assert listed == [line for line in lines if normal(line) not in varied], "copy what has changed"
