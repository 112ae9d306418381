"""A digest changes when the question changes, and with nothing else: not the process, not the order of keys."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import pytest
from pydantic import BaseModel

from opspawn.agentkit.digests import digest, request_digest
from opspawn.contracts.model import Message, ToolCall


@dataclass
class Point:
    x: int
    tags: set[str]


class Model(BaseModel):
    name: str
    tags: set[str] = set()


class Opaque:
    pass


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ((1, 2), [1, 2]),
        ({1: "a"}, {"1": "a"}),
        (Opaque(), Opaque()),
        ([Opaque(), {"x"}], [Opaque(), {"x"}]),
        (Point(1, {"é", "b"}), {"x": 1, "tags": ["b", "é"]}),
        (Model(name="é"), {"name": "é", "tags": []}),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
    ],
)
def test_equal_questions_have_equal_digests(one: Any, same: Any) -> None:
    assert digest(one) == digest(same)
    assert len(digest(one)) == 32


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 2}),
        ([1, 2], [2, 1]),
        (["ab"], ["a", "b"]),
        ("1", 1),
        (None, "null"),
        (Opaque(), Point),
        (Point(1, set()), Point(2, set())),
    ],
)
def test_other_questions_have_other_digests(one: Any, other: Any) -> None:
    assert digest(one) != digest(other)


@pytest.mark.parametrize("value", ["\ud800", float("nan"), 2**80, "é", {(1, 2): 3}])
def test_odd_values_have_a_digest_too(value: Any) -> None:
    assert digest(value) == digest(value)


def test_digests_are_the_same_in_every_process() -> None:
    """Python orders sets by hashes that differ from process to process."""
    program = (
        "from opspawn.agentkit.digests import digest; from dataclasses import dataclass\n"
        "@dataclass\nclass P:\n    tags: frozenset\n"
        "print(digest([{'red', 'green', 'blue'}, P(frozenset('abcdef'))]))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(seen) == 1


def test_a_conversation_is_its_messages_in_order() -> None:
    hello, answer = Message("user", "Hello"), Message("assistant", "Hi")

    assert request_digest([hello, answer]) == request_digest([Message("user", "Hello"), Message("assistant", "Hi")])
    assert request_digest([hello, answer]) != request_digest([answer, hello])
    assert request_digest([hello]) != request_digest([Message("system", "Hello")])


def test_every_part_of_a_message_counts() -> None:
    call = ToolCall("1", "search", {"q": "a"})
    variants = [
        Message("assistant", "x"),
        Message("assistant", "x", (call,)),
        Message("assistant", "x", (ToolCall("2", "search", {"q": "a"}),)),
        Message("assistant", "x", (ToolCall("1", "search", {"q": "b"}),)),
        Message("assistant", "x", (ToolCall("1", "search", {}, "{broken"),)),
        Message("tool", "x", tool_call_id="1"),
        Message("tool", "x", tool_call_id="1", is_error=True),
    ]

    assert len({request_digest([message]) for message in variants}) == len(variants)


@pytest.mark.parametrize(
    "value",
    [
        ["work", (5, 2.5, None, True)],
        {"ü": "\ud83d", "a": {"z": [], "b": 1e300}},
        "a text",
        7,
        [float("inf")],
        {},
        [[]],
    ],
)
def test_what_journals_recorded_once_is_the_digest_of_sorted_compact_json(value: Any) -> None:
    """A digest that changed with a version would stop every run that began before it."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    assert digest(value) == blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def test_what_holds_itself_has_no_digest() -> None:
    circle: list[Any] = []
    circle.append(circle)

    with pytest.raises(ValueError, match="Circular"):
        digest(circle)
