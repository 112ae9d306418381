"""The compose file and the unit of the page on fleets say all that services need to start, and to stop in time."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path
from typing import Any, cast

import yaml

from opspawn.config import load_settings
from opspawn.config.settings import WorkerSettings
from opspawn.contracts.plugins import TransportPlugin
from opspawn.plugins import Plugins

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "grow-to-a-fleet.md"


def block(word: str) -> str:
    blocks = re.findall(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = [block for block in blocks if word in block]
    return str(found)


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(block("services:"))["services"]
    return found


async def test_the_web_service_of_the_compose_file_is_not_refused(tmp_path: Path) -> None:
    web = services()["web"]
    host = web["command"].partition("--host ")[2]
    overrides = {"plugins.rest.host": host, "plugins.rest.port": 0}
    loaded = load_settings(environ=web["environment"], cwd=tmp_path, overrides=overrides)
    plugins = Plugins.load()
    record = cast(TransportPlugin, plugins.get("transport", "rest"))
    transport = record.open(cast(Any, None), plugins.section(record, loaded.sections))
    try:
        await transport.bind()
        assert "0.0.0.0" in transport.address
    finally:
        await transport.stop()


def test_every_service_of_the_compose_file_comes_back_and_a_worker_has_the_time_to_stop() -> None:
    found = services()
    grace_s = int(found["worker"]["stop_grace_period"].removesuffix("s"))

    assert all(service["restart"] == "unless-stopped" for service in found.values())
    assert grace_s > WorkerSettings().drain_s + 10


def test_a_unit_whose_server_is_away_for_long_is_tried_until_it_is_back() -> None:
    """systemd tries five times within ten seconds unless it is told otherwise, and a worker ends at once."""
    unit = ConfigParser(interpolation=None)
    unit.read_string(block("[Service]"))

    assert unit["Service"]["Restart"] == "always"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert int(unit["Service"]["TimeoutStopSec"]) > WorkerSettings().drain_s + 10
