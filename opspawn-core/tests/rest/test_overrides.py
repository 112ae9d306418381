"""What one run does differently, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest


async def test_overrides_are_taken_in_camel_case_and_settings_as_they_are(client: Any) -> None:
    body = {"input": "hi", "overrides": {"maxSteps": 5, "settings": {"top_p": 1}}, "waitS": 30}
    answer = await client.post("/v1/agents/talk/run", json=body)

    assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"maxSteps": 0}, "maxSteps"),
        ({"tools": []}, "tools"),
        ({"planner": "raect"}, "raect"),
        ({"maxStep": 5}, "body/overrides/maxStep: is not known here. Did you mean 'maxSteps'?"),
    ],
)
async def test_what_no_run_could_do_is_refused(client: Any, overrides: dict[str, Any], words: str) -> None:
    answer = await client.post("/v1/agents/talk/run", json={"input": "hi", "overrides": overrides})

    assert answer.status_code in (400, 422)
    assert words in answer.text


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"model": "openai:gpt-5"}, "body/model: is not known here. It is a member of 'overrides'."),
        ({"budget": {"token": 5}}, "body/budget/token: is not known here. Did you mean 'tokens'?"),
        ({"inptu": "hi"}, "body/inptu: is not known here. Did you mean 'input'?"),
    ],
)
async def test_a_member_that_is_not_known_is_told_with_where_it_belongs(
    client: Any, body: dict[str, Any], words: str
) -> None:
    answer = await client.post("/v1/agents/talk/run", json={"input": "hi", **body})

    assert answer.status_code == 422
    assert words in answer.json()["detail"]
