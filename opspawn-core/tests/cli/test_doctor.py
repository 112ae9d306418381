"""`opspawn doctor`: what it finds in a configuration that can be used, and does not do what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from opspawn.cli import main


def findings(part: str) -> list[dict[str, str]]:
    result = CliRunner().invoke(main, ["doctor", "--json"], prog_name="opspawn")
    return [one for one in json.loads(result.stdout) if one["part"] == part and one["level"] != "ok"]


def test_a_rate_of_no_provider_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its misprint limits nothing. A name without a colon may be one that `ctx.take` names."""
    monkeypatch.chdir(tmp_path)
    rates = [f'[limits."{name}"]\nrequests_per_minute = 60\n' for name in ("crm", "replay:tape", "rplay:tape")]
    (tmp_path / "opspawn.toml").write_text("".join(rates))
    (found,) = findings("configuration")

    assert found["level"] == "warning"
    assert found["what"] == """[limits."rplay:tape"] limits no model: no provider 'rplay' is installed."""
    assert "replay" in found["remedy"]
