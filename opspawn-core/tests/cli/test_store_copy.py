"""What `opspawn store copy` refuses is one line, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from opspawn.cli import main
from opspawn.stores.sqlite import open_sqlite


@pytest.mark.parametrize(
    ("origin", "goal", "said"),
    [
        ("mongo://h/0", "sqlite:b.db", "--from: no store that is installed has addresses like 'mongo://h/0'."),
        ("mongo://me:secret@h/0", "sqlite:b.db", "'mongo://h/0'"),
        ("mongo://me:x@secret@h/0", "sqlite:b.db", "'mongo://h/0'"),
        ("sqlite:///nowhere/a.db", "sqlite:b.db", "--from: There is no database /nowhere/a.db yet."),
        ("sqlite:a.db", "sqlite:a.db", "--from and --to are the same store."),
        ("mongo", "sqlite:b.db", "There is no store 'mongo'."),
        ("sqlite:a.txt", "sqlite:b.db", "is not a database"),
    ],
)
def test_what_cannot_be_copied_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    origin: str,
    goal: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("no database" * 100)

    with pytest.raises(SystemExit) as ended:
        main(["store", "copy", "--from", origin, "--to", goal])

    told = capsys.readouterr().err
    assert ended.value.code not in (0, None)
    assert said in told
    assert told.count("\n") == 1
    assert "secret" not in told
    assert not (tmp_path / "b.db").exists()


def test_what_was_copied_is_gone_on_with_by_the_lines_that_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An address is no name of a store there, and what is told is a configuration."""
    monkeypatch.chdir(tmp_path)
    asyncio.run(_made(str(tmp_path / "a.db")))

    with pytest.raises(SystemExit) as ended:
        main(["store", "copy", "--from", "sqlite:a.db", "--to", f"sqlite:{tmp_path / 'b.db'}"])

    told = capsys.readouterr().err
    assert ended.value.code == 0
    lines = f'write store = "sqlite" and, in [plugins.sqlite], path = "{tmp_path / "b.db"}" into opspawn.toml.'
    assert lines in told
    (tmp_path / "opspawn.toml").write_text(f'store = "sqlite"\n[plugins.sqlite]\npath = "{tmp_path / "b.db"}"\n')
    with pytest.raises(SystemExit) as shown:
        main(["store", "info"])
    assert shown.value.code == 0


async def _made(path: str) -> None:
    await (await open_sqlite(path)).aclose()
