"""What is refused before a request is looked into."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as some

from opspawn import App
from opspawn.config import load_settings
from opspawn.host import Host
from opspawn.rest.limits import depth_of

JSON = {"content-type": "application/json"}
VALUES = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(alphabet='a[]{}"\\/\n\u00e9'),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(alphabet='[{"\\'), inner, max_size=3),
    max_leaves=20,
)


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(VALUES, some.booleans())
def test_the_depth_of_json_is_counted_without_parsing_it(value: object, ascii: bool) -> None:
    assert depth_of(json.dumps(value, ensure_ascii=ascii).encode(), 1000) == depth(value)


@pytest.mark.parametrize("body", [b'"', b'"\\', b"]]]]", b"", b'{"a": "[[[', b"\xff[" * 3])
def test_counting_the_depth_survives_what_is_no_json(body: bytes) -> None:
    assert depth_of(body, 64) <= 4


def test_counting_stops_one_above_the_limit() -> None:
    assert depth_of(b"[" * 1000, 10) == 11


async def test_limits_are_settings(tmp_path: Path) -> None:
    overrides = {"plugins.rest.port": 0, "plugins.rest.max_body_bytes": 1024, "plugins.rest.max_depth": 4}
    loaded = load_settings(cwd=tmp_path, overrides=overrides)
    async with (
        Host.open(App(), loaded=loaded, transports=True) as host,
        httpx2.AsyncClient(base_url=host.transports[0].address, trust_env=False) as client,
    ):
        large = await client.post("/v1/agents/a/run", content=b'"' + b"x" * 1023 + b'"', headers=JSON)
        fits = await client.post("/v1/agents/a/run", content=b'"' + b"x" * 1022 + b'"', headers=JSON)
        deep = await client.post("/v1/agents/a/run", content=b"[[[[[]]]]]", headers=JSON)

    assert [large.status_code, fits.status_code, deep.status_code] == [413, 422, 400]
    assert large.json()["detail"] == "The body is larger than 1024 bytes."
    assert deep.json()["detail"] == "The JSON is nested deeper than 4 levels."


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.acme+json"])
async def test_every_kind_of_json_is_json(client: httpx2.AsyncClient, kind: str) -> None:
    answer = await client.post("/v1/agents/echo/run", content=b'{"input": 1}', headers={"content-type": kind})

    assert answer.status_code == 202
