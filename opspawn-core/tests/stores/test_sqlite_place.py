"""Where the database lies: a relative path starts at the configuration file's folder, as that of `data` does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from opspawn import App
from opspawn.cli import main
from opspawn.config import load_settings
from opspawn.host import Host


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with a configuration, seen from the folder above it."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "opspawn.toml").write_text('[plugins.sqlite]\npath = "db/x.db"\n')
    monkeypatch.chdir(tmp_path)
    return folder


async def database_of(project: Path, environ: dict[str, str]) -> str:
    loaded = load_settings(project / "opspawn.toml", environ=environ)
    async with Host.open(App(), loaded=loaded, worker=False):
        (found,) = project.parent.rglob("*.db")
    return str(found.relative_to(project.parent))


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({}, "project/db/x.db"),
        ({"OPSPAWN_PLUGINS__SQLITE__PATH": "other/y.db"}, "other/y.db"),
    ],
)
async def test_a_path_of_the_file_starts_at_its_folder_one_of_the_environment_at_the_current(
    project: Path, environ: dict[str, str], place: str
) -> None:
    assert await database_of(project, environ) == place


async def test_a_tilde_is_the_home_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(project / "home"))
    (project / "opspawn.toml").write_text('[plugins.sqlite]\npath = "~/z.db"\n')
    assert await database_of(project, {}) == "project/home/z.db"


async def test_memory_is_no_file_wherever_it_is_named(project: Path) -> None:
    (project / "opspawn.toml").write_text('[plugins.sqlite]\npath = ":memory:"\n')
    async with Host.open(App(), loaded=load_settings(project / "opspawn.toml", environ={}), worker=False) as host:
        assert (await host.ready())["store"] == "ok"
    assert os.listdir(project) == ["opspawn.toml"]


def test_a_command_that_only_looks_makes_no_database(project: Path) -> None:
    result = CliRunner().invoke(main, ["--config", str(project / "opspawn.toml"), "tasks", "list"])
    assert result.exit_code == 2
    assert f"There is no database {project / 'db' / 'x.db'} yet. Start with" in result.stderr
    assert not (project / "db").exists()
