"""Schedules over HTTP."""

from __future__ import annotations

import httpx2

ROUTE = "/v1/opscore/schedules"


async def test_a_schedule_is_made_shown_paused_run_and_removed(client: httpx2.AsyncClient) -> None:
    body = {"name": "nightly", "run": "agent/echo", "input": "hi", "cron": "0 3 * * *", "zone": "Europe/Berlin"}
    made = await client.post(ROUTE, json=body)
    assert (made.status_code, made.headers["Location"]) == (201, f"{ROUTE}/nightly")
    told = made.json()
    assert (told["state"], told["catchUp"], told["fired"], told["source"]) == ("active", "once", 0, "api")
    assert told["next"].endswith("Z")
    assert (await client.get(ROUTE)).json() == {"schedules": [told]}
    assert (await client.post(ROUTE, json=body)).json() == told

    assert (await client.post(f"{ROUTE}/nightly/pause")).json()["state"] == "paused"
    assert (await client.post(f"{ROUTE}/nightly/resume")).json()["state"] == "active"
    ran = await client.post(f"{ROUTE}/nightly/run")
    assert (ran.status_code, ran.json()["labels"]) == (202, {"schedule": "nightly"})

    assert (await client.delete(f"{ROUTE}/nightly")).status_code == 204
    assert (await client.get(f"{ROUTE}/nightly")).status_code == 404


async def test_what_is_wrong_is_told_by_the_name_that_callers_know(client: httpx2.AsyncClient) -> None:
    async def refused(**more: object) -> tuple[int, str]:
        answer = await client.post(ROUTE, json={"name": "s", "run": "agent/echo", **more})
        return answer.status_code, answer.text

    status, text = await refused(cron="61 * * * *")
    assert status == 422
    assert "bad minute" in text
    assert (await refused())[0] == 422
    assert (await refused(everyS=5, zone="Mars"))[0] == 422
    assert (await refused(everyS=5, at="2026-01-01T00:00:00Z"))[0] == 422
    assert (await refused(everyS=5, run="agent/gone"))[0] == 404
    assert (await client.post(f"{ROUTE}/nobody/run")).status_code == 404
