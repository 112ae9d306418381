"""`opspawn logs` of what there is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from opspawn import App
from opspawn.cli import main
from opspawn.config import load_settings
from opspawn.contracts.run import RunContext
from opspawn.host import Host


async def note(ctx: RunContext) -> str:
    return "noted"


@pytest.fixture
async def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "opspawn.toml").write_text("")
    async with Host.open(App(functions={"note": note}), loaded=load_settings(cwd=tmp_path)) as host:
        await host.registry.register("far", name="Far", contact_endpoint="https://example.org")
        ended = await host.submit("function/note")
        await host.wait(ended.id, 10)
        session = await host.sessions.start_session("far")
    (tmp_path / "session").write_text(session.id)
    return ended.id


@pytest.mark.parametrize("what", ["task", "agent", "session"])
def test_the_logs_of_what_there_is_not_say_so(task: str, what: str) -> None:
    for more in ([], ["--follow"]):
        done = CliRunner().invoke(main, ["logs", f"--{what}", "nope", *more], prog_name="opspawn")

        assert (done.exit_code, done.stdout) == (2, "")
        assert f"There is no {what} 'nope'." in done.stderr


def test_the_logs_of_what_there_is_may_be_empty(task: str, tmp_path: Path) -> None:
    session = (tmp_path / "session").read_text()
    for named in (["--task", task], ["--agent", "far"], ["--session", session]):
        done = CliRunner().invoke(main, ["logs", *named, "--level", "error"], prog_name="opspawn")

        assert (done.exit_code, done.stdout) == (0, ""), done.stderr
