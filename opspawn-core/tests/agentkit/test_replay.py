"""`replay:` answers what was recorded, and says plainly what was not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opspawn.agentkit.codec import response_to_json
from opspawn.agentkit.digests import request_digest
from opspawn.agentkit.replay import ReplayModel, export_recording, opspawn_models
from opspawn.contracts.events import Event
from opspawn.contracts.model import Message, ModelDelta, ModelRequest, ModelResponse, ToolCall, ToolSpec
from opspawn.errors import ConfigError, ModelError

QUESTION = (Message("system", "Be brief."), Message("user", "How do I reset a token?"))
ANSWER = ModelResponse("In the settings.", model="m-1")


def _event(data: dict[str, Any], type: str = "step.done") -> Event:
    return Event(1, "t-1", datetime(2024, 1, 1, tzinfo=UTC), type, data)


def _think(messages: tuple[Message, ...], response: ModelResponse, **more: Any) -> Event:
    digest = request_digest(messages)
    return _event({"key": "think", "kind": "think", "digest": digest, "result": response_to_json(response), **more})


def _recorded(folder: Path, *events: Event) -> str:
    (folder / "calls.jsonl").write_text("".join(f"{line}\n" for line in export_recording(events)), "utf-8")
    return "calls.jsonl"


async def test_a_recorded_question_gets_its_answer_whatever_model_and_tools_ask(tmp_path: Path):
    file = _recorded(tmp_path, _think(QUESTION, ANSWER))
    model = ReplayModel(tmp_path)

    answer = await model.complete(ModelRequest(file, QUESTION, (ToolSpec("new", "", {}),), None, {"temperature": 1}))

    assert answer == ANSWER


async def test_answers_stream_when_asked_to(tmp_path: Path):
    call = ToolCall("1", "search", {"query": "token"})
    file = _recorded(tmp_path, _think(QUESTION, ModelResponse("Let me see.", (call,))))
    deltas: list[ModelDelta] = []

    await ReplayModel(tmp_path).complete(ModelRequest(file, QUESTION), deltas.append)

    assert [delta.text for delta in deltas] == ["Let ", "me ", "see.", '{"query": "token"}']


async def test_an_unrecorded_question_names_the_file_and_the_way_to_a_live_model(tmp_path: Path):
    file = _recorded(tmp_path, _think(QUESTION, ANSWER))

    with pytest.raises(ModelError) as caught:
        await ReplayModel(tmp_path).complete(ModelRequest(file, (Message("user", "And how\nelse?"),)))

    assert caught.value.error_type == "permanent"
    assert str(caught.value) == (
        "This question is not in the recording 'calls.jsonl': 'And how else?'. "
        "To ask a live model, set OPSPAWN_MODEL, e.g. OPSPAWN_MODEL=openai:gpt-5."
    )


def test_a_missing_file_is_told_before_the_first_call(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"nowhere\.jsonl' cannot be read: No such file or directory\."):
        ReplayModel(tmp_path).check("nowhere.jsonl")


@pytest.mark.parametrize(
    "line",
    ["{not json", "[]", '{"response": {}}', '{"digest": "d"}', '{"digest": 5, "response": {}}',
     '{"digest": "d", "response": "text"}', '{"digest": "d", "response": {"tool_calls": [{"id": "1"}]}}'],
)  # fmt: skip
def test_a_broken_line_is_named_by_its_number(tmp_path: Path, line: str):
    (tmp_path / "calls.jsonl").write_text(f'{{"digest": "a", "response": {{}}}}\n\n{line}\n', "utf-8")

    with pytest.raises(ConfigError) as caught:
        ReplayModel(tmp_path).check("calls.jsonl")

    assert "calls.jsonl', line 3, is not a recorded call: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path):
    (tmp_path / "calls.jsonl").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        ReplayModel(tmp_path).check("calls.jsonl")


def test_an_export_keeps_each_question_once_and_in_order():
    other = (Message("user", "Why?"),)
    events = [
        _event({"handler": "agent/helper"}, "task.accepted"),
        _think(other, ModelResponse("Because."), asked="Why?"),
        _event({"key": "act/0", "kind": "act", "digest": "x", "result": {}}),
        _think(QUESTION, ANSWER),
        _think(other, ModelResponse("Again.")),
        _event({"key": "think", "kind": "think", "digest": "y", "error": {}}, "step.failed"),
    ]

    lines = [json.loads(line) for line in export_recording(events)]

    assert lines == [
        {"digest": request_digest(other), "asked": "Why?", "response": {"text": "Because."}},
        {"digest": request_digest(QUESTION), "response": {"text": "In the settings.", "model": "m-1"}},
    ]


def test_the_plugin_offers_replay():
    (record,) = opspawn_models()

    assert record.name == "replay"
    assert isinstance(record.open(record.config()), ReplayModel)
