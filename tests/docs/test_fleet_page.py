"""The compose file of the page on fleets says all that its services need to start, and to stop in time."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import yaml

from opspawn.config import load_settings
from opspawn.config.settings import WorkerSettings
from opspawn.contracts.plugins import TransportPlugin
from opspawn.plugins import Plugins

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "grow-to-a-fleet.md"


def services() -> dict[str, Any]:
    blocks = re.findall(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (compose,) = [block for block in blocks if block.startswith("services:")]
    found: dict[str, Any] = yaml.safe_load(compose)["services"]
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
