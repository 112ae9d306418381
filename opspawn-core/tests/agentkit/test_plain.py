"""What a run returns is kept as it is, or refused with its place: never quietly something else."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pytest
from pydantic import BaseModel

from opspawn.agentkit.plain import kept_json, plain_json, tool_json
from opspawn.errors import ToolError

NAN = float("nan")


class Score(BaseModel):
    value: float
    by_rank: dict[int, str] = {}


@dataclass
class Point:
    x: float


class Word(StrEnum):
    red = "red"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (NAN, "it is NaN"),
        ({"share": NAN}, "at share it has NaN"),
        ({"size": 10**4000}, "at size it has a number of more than 4,000 digits"),
        (10**4000, "it is a number of more than 4,000 digits"),
        ({"a": [1, -(10**5000)]}, r"at a\[1\] it has a number of more than 4,000 digits"),
        ([1.0, float("-inf")], r"at \[1\] it has -Infinity"),
        ({"scores": [0.5, {"best": NAN}]}, r"at scores\[1\]\.best it has NaN"),
        (({"a": (1, float("inf"))},), r"at \[0\]\.a\[1\] it has Infinity"),
        (Score(value=NAN), "at value it has NaN"),
        ({"p": Point(NAN)}, r"at p\.x it has NaN"),
        (OrderedDict(n=NAN), "at n it has NaN"),
        ({1: "one"}, "it has the key 1, and a key in JSON is a text"),
        ({"totals": [{None: 0}]}, r"at totals\[0\] it has the key None"),
        ([{True: 0}], r"at \[0\] it has the key True"),
        ({"at": {(1, 2): 0}}, r"at at it has the key \(1, 2\)"),
        (OrderedDict({2.5: 0}), r"it has the key 2\.5"),
        ([object()], "Unable to serialize"),
    ],
)
def test_what_json_cannot_say_is_refused_with_its_place(value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plain_json(value)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ({"a": [1, 0.5, None, True, "x"], "b": {}}, {"a": [1, 0.5, None, True, "x"], "b": {}}),
        ((1, {"x"}, frozenset()), [1, ["x"], []]),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        ({Word.red: Word.red}, {"red": "red"}),
        (Score(value=1, by_rank={1: "a"}), {"value": 1.0, "by_rank": {"1": "a"}}),
        (OrderedDict(n=[Point(1.0)]), {"n": [{"x": 1.0}]}),
    ],
)
def test_what_json_can_say_is_converted_and_models_say_how(value: Any, plain: Any) -> None:
    assert plain_json(value) == plain


def test_a_value_that_holds_itself_is_refused() -> None:
    ring: list[Any] = []
    ring.append(ring)

    with pytest.raises(ValueError, match="it holds itself; name the part by an id"):
        plain_json(ring)


def test_a_copy_is_kept_so_that_later_changes_stay_out() -> None:
    kept = {"a": [1]}
    plain = plain_json(kept)
    kept["a"].append(2)

    assert plain == {"a": [1]}


def test_a_flat_result_is_a_copy_too() -> None:
    given = {"name": "x", "size": 3, "share": 0.5, "known": True, "note": None}
    kept = plain_json(given)
    assert kept == given
    given["size"] = 4
    assert kept["size"] == 3


def test_a_tools_value_is_refused_as_invalid_output() -> None:
    with pytest.raises(ToolError, match=r"The tool 'rate' returned dict, .* at a it has NaN") as raised:
        tool_json("rate", {"a": NAN})
    assert raised.value.error_type == "invalid_output"


def test_what_is_too_deep_or_no_text_is_refused_in_words() -> None:
    deep: list[Any] = []
    for _ in range(500):
        deep = [deep]

    with pytest.raises(ValueError, match="nested more than 255 levels deep; keep it flatter"):
        plain_json(deep)
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        kept_json({"a": ["\ud83d"]})
    assert kept_json({"a": ["é"]}) == ({"a": ["é"]}, 12)
