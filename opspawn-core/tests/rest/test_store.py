"""Looking after the store over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from opspawn.host import Host
from opspawn.ops.housekeeping import TURN
from opspawn.ops.turns import Turn
from opspawn.stores.sqlite import open_sqlite


@pytest.fixture
async def ended(client: httpx2.AsyncClient, plain_task: dict[str, Any]) -> str:
    """A task that has ended."""
    answer = await client.post("/v1/agents/echo/run", json=plain_task)
    return str(answer.json()["id"])


async def prune(client: httpx2.AsyncClient, **body: Any) -> httpx2.Response:
    return await client.post("/v1/opscore/store/prune", json=body)


async def test_a_doctor_tells_what_it_found_each_with_its_part(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/v1/opscore/doctor")

    told = answer.json()
    assert (answer.status_code, told["errors"]) == (200, 0)
    parts = {finding["part"] for finding in told["findings"]}
    assert {"python", "configuration", "plugins", "disk", "sandbox", "store", "clock", "workers"} <= parts
    assert told["warnings"] == len([one for one in told["findings"] if one["level"] == "warning"])
    assert {"part": "store", "level": "ok", "what": "Every page of the database is sound.", "remedy": None} in told[
        "findings"
    ]


async def test_pruning_only_says_what_would_go_unless_it_is_told_to_delete(
    client: httpx2.AsyncClient, ended: str
) -> None:
    would = (await prune(client, keepAtMost=0)).json()
    assert (would["trees"], would["dryRun"]) == (1, True)
    assert (await client.get(f"/v1/opscore/tasks/{ended}")).status_code == 200

    done = (await prune(client, keepAtMost=0, dryRun=False)).json()
    assert (done["trees"], done["tasks"], done["dryRun"]) == (1, 1, False)
    assert (await client.get(f"/v1/opscore/tasks/{ended}")).status_code == 404


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "olderThan is missing, and [retention] does not say either what is old."),
        ({"olderThan": "soon"}, "olderThan is 'soon'; a span of time is meant."),
    ],
)
async def test_pruning_needs_to_know_what_is_old(client: httpx2.AsyncClient, body: Any, words: str) -> None:
    answer = await prune(client, **body)

    assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (422, "invalid-input", words)


@pytest.mark.usefixtures("ended")
async def test_pruning_waits_for_no_other_that_deletes(client: httpx2.AsyncClient, host: Host) -> None:
    assert await Turn(host.store, TURN, "somebody else").take()

    answer = await prune(client, keepAtMost=0, dryRun=False)

    assert (answer.status_code, answer.json()["code"]) == (409, "invalid-transition")
    assert answer.json()["detail"] == "somebody else is deleting just now."


async def test_a_backup_comes_as_a_file_that_opens_like_the_original(
    client: httpx2.AsyncClient, ended: str, tmp_path: Path
) -> None:
    answer = await client.post("/v1/opscore/store/backup")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/vnd.sqlite3")
    (tmp_path / "copy.db").write_bytes(answer.content)
    store = await open_sqlite(str(tmp_path / "copy.db"))
    task = await store.get_task(ended)
    await store.aclose()
    assert task is not None
    assert task.result == "hi"
