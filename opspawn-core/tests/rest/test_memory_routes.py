"""What agents remember, over HTTP."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
async def added(client: Any) -> Any:
    """Two facts of Ada, one of Bob."""
    items = [
        {"text": "Ada likes tea.", "namespace": ["user:ada"], "id": "a-1", "metadata": {"kind": "taste"}},
        {"text": "Ada lives in Bern.", "namespace": ["user:ada", "home"], "id": "a-2", "confidence": 0.5},
        {"text": "Bob hates tea.", "namespace": ["user:bob"], "id": "b-1", "subject": "tea", "ttlS": 60},
    ]
    answer = await client.post("/v1/memory/items", json={"items": items})
    assert answer.status_code == 201
    return answer.json()


async def texts(client: Any, **query: Any) -> list[str]:
    answer = await client.get("/v1/memory/items", params=query)
    assert answer.status_code == 200, answer.text
    return [item["text"] for item in answer.json()["items"]]


async def test_what_was_added_is_listed_found_and_shown(client: Any, added: Any) -> None:
    assert await texts(client) == ["Bob hates tea.", "Ada lives in Bern.", "Ada likes tea."]
    assert await texts(client, namespace="user:ada", below=False) == ["Ada likes tea."]
    assert await texts(client, filter='{"field": "kind", "eq": "taste"}') == ["Ada likes tea."]
    found = await client.post("/v1/memory/search", json={"query": "Who likes tea?", "namespace": ["user:ada"]})
    [hit] = found.json()["hits"]
    assert (hit["item"]["id"], hit["score"], hit["why"]["words"]) == ("a-1", 1.0, ["like", "tea"])
    shown = await client.get("/v1/memory/items/b-1", params={"namespace": "user:bob"})
    assert (shown.json()["subject"], shown.json()["ttlS"]) == ("tea", 60)
    stats = (await client.get("/v1/memory/stats")).json()
    assert (stats["items"], stats["embedder"]) == (3, None)


async def test_a_repeated_add_changes_nothing(client: Any, added: Any) -> None:
    assert [one["new"] for one in added["items"]] == [True, True, True]
    again = {"items": [{"text": "Other.", "namespace": ["user:ada"], "id": "a-1"}]}
    [one] = (await client.post("/v1/memory/items", json=again)).json()["items"]
    assert (one["new"], one["item"]["text"]) == (False, "Ada likes tea.")


async def test_an_item_is_changed_in_its_namespace_alone(client: Any, added: Any) -> None:
    change = {"text": "Ada likes green tea.", "ttlS": None}
    wrong = await client.patch("/v1/memory/items/a-1", params={"namespace": "user:bob"}, json=change)
    right = await client.patch("/v1/memory/items/a-1", params={"namespace": "user:ada"}, json=change)
    assert (wrong.status_code, wrong.json()["code"]) == (404, "not-found")
    assert right.json()["text"] == "Ada likes green tea."
    assert right.json()["metadata"] == {"kind": "taste"}


@pytest.mark.parametrize(
    "body",
    [{"subject": ""}, {"session": "", "below": True}, {"ids": []}, {"ids": [], "below": True}, {"filter": {"and": []}}],
)
async def test_what_says_nothing_forgets_nothing(client: Any, added: Any, body: dict[str, Any]) -> None:
    for more in ({}, {"all": True}) if "filter" not in body else ({},):
        refused = await client.post("/v1/memory/forget", json={"namespace": ["user:ada"], **body, **more})
        assert refused.status_code == 422, refused.text
    assert len(await texts(client)) == 3
    assert (await client.get("/v1/memory/items", params={"subject": ""})).status_code == 422


async def test_what_is_forgotten_is_gone(client: Any, added: Any) -> None:
    refused = await client.post("/v1/memory/forget", json={"namespace": ["user:ada"]})
    assert refused.status_code == 422
    one = await client.post("/v1/memory/forget", json={"namespace": ["user:bob"], "subject": "tea"})
    assert one.json() == {"forgotten": 1}
    rest = await client.post("/v1/memory/forget", json={"namespace": ["user:ada"], "below": True, "all": True})
    assert rest.json() == {"forgotten": 2}
    assert await texts(client) == []


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("items", {"items": []}, "at least 1"),
        ("items", {"items": [{"text": "x", "namespace": []}]}, "1 to 8 parts"),
        ("items", {"items": [{"text": "x" * 70_000, "namespace": ["a"]}]}, "65536 are the most"),
        ("items", {"items": [{"text": "x", "namespace": ["a"], "nope": 1}]}, "nope"),
        ("items", {"items": [{"text": "x", "namespace": ["a"], "metadata": {"a": {"b": 1}}}]}, "metadata.a"),
        ("search", {"query": " "}, "must say something"),
        ("search", {"query": "x", "mode": "vector"}, "no embedder"),
        ("search", {"query": "x", "filter": {"field": "a"}}, "says neither"),
        ("search", {"query": "x", "limit": 0}, "limit is 0"),
        ("forget", {"ids": ["a b"]}, "no id"),
    ],
)
async def test_what_does_not_do_is_a_problem_in_words(client: Any, path: str, body: Any, words: str) -> None:
    answer = await client.post(f"/v1/memory/{path}", json=body)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


async def test_there_is_no_item_of_that_id_elsewhere(client: Any, added: Any) -> None:
    answer = await client.get("/v1/memory/items/a-1", params={"namespace": "user:bob"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert (await client.get("/v1/memory/items", params={"cursor": "x"})).status_code == 422
    assert (await client.get("/v1/memory/items", params={"filter": "{"})).status_code == 422


async def test_a_memory_is_compacted_and_embedded_anew(client: Any, added: Any) -> None:
    """What is kept stays as it is; without an embedder there are no vectors to make."""
    before = await texts(client)
    assert (await client.post("/v1/memory/compact")).status_code == 204
    assert (await client.post("/v1/memory/reembed")).json() == {"made": 0, "removed": 0}
    assert await texts(client) == before


async def test_reembed_without_an_embedder_answers_what_it_took_away(client: Any, added: Any, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / ".opspawn/memory.db")) as file, file:
        file.execute("UPDATE items SET vector_of = 'other:model', vector = x'0000803f'")
    assert (await client.post("/v1/memory/reembed")).json() == {"made": 0, "removed": 3}
