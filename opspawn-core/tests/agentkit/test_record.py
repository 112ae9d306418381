"""`record:` writes down what a model said, without secrets, and `replay:` plays it."""

from __future__ import annotations

import asyncio
import json

import pytest

from opspawn.agentkit import BoundModel, FunctionModel, RecordingModel
from opspawn.agentkit.replay import ReplayModel
from opspawn.contracts.model import File, Image, Message, ModelRequest, ModelResponse, Reasoning, Text, ToolCall, Usage
from opspawn.errors import ConfigError, ModelError
from opspawn.testing import ScriptedModel

SECRET = "sk-abcdefgh12345678"
DOT = Image(b"\x89PNG", "image/png")


def asked(*messages: Message, file: str = "") -> ModelRequest:
    return ModelRequest(file, messages)


async def test_what_was_recorded_plays_again(tmp_path):
    call = ToolCall("1", "search", {"query": "token"})
    answers = [ModelResponse("", (call,), Usage(9, 3, requests=1), "tool_calls", "m-1"), "In the settings."]
    recording = RecordingModel(ScriptedModel(answers), tmp_path / "calls.jsonl")
    question = Message("user", "How?", parts=(DOT,))
    first = await recording.complete(asked(question))
    talk = (question, first.message(), Message("tool", "found", tool_call_id="1"))
    second = await recording.complete(asked(*talk))

    replay = ReplayModel(tmp_path)

    assert await replay.complete(asked(question, file="calls.jsonl")) == first
    assert await replay.complete(asked(*talk, file="calls.jsonl")) == second


async def test_no_secret_and_no_bytes_reach_the_file(tmp_path):
    file = tmp_path / "calls.jsonl"
    answer = ModelResponse("", (ToolCall("1", "login", {"password": "hunter2hunter2", "note": SECRET}),))
    recording = RecordingModel(ScriptedModel([answer]), file)
    paper = File(b"%PDF very private", "application/pdf")

    said = await recording.complete(asked(Message("user", f"My key is {SECRET}.", parts=(DOT, paper))))

    text = file.read_text("utf-8")
    assert said == answer
    assert SECRET not in text
    assert "hunter2" not in text
    assert "private" not in text
    (entry,) = [json.loads(line) for line in text.splitlines()]
    assert entry["asked"][0]["shows"][0].startswith("image image/png ")


async def test_a_question_with_a_secret_is_found_again_with_and_without_it(tmp_path):
    recording = RecordingModel(ScriptedModel(["Noted."]), tmp_path / "calls.jsonl")
    await recording.complete(asked(Message("user", f"My key is {SECRET}.")))

    replay = ReplayModel(tmp_path)

    for key in (SECRET, "***"):
        answer = await replay.complete(asked(Message("user", f"My key is {key}."), file="calls.jsonl"))
        assert answer.text == "Noted."


async def test_the_same_question_is_recorded_once_and_an_older_file_goes_on(tmp_path):
    file = tmp_path / "calls.jsonl"
    for _ in range(2):
        recording = RecordingModel(FunctionModel(lambda request: "Yes."), file)
        await recording.complete(asked(Message("user", "a")))
        await recording.complete(asked(Message("user", "a")))
    await recording.complete(asked(Message("user", "b")))

    assert len(file.read_text("utf-8").splitlines()) == 2


async def test_calls_at_the_same_time_are_whole_lines_and_each_is_recorded_once(tmp_path):
    file = tmp_path / "calls.jsonl"
    recording = RecordingModel(FunctionModel(lambda request: "Yes." * 5000), file)

    await asyncio.gather(*(recording.complete(asked(Message("user", str(n % 5)))) for n in range(20)))

    assert len({json.loads(line)["digest"] for line in file.read_text("utf-8").splitlines()}) == 5
    assert len(file.read_text("utf-8").splitlines()) == 5


async def test_a_failure_is_not_recorded(tmp_path):
    file = tmp_path / "calls.jsonl"
    recording = RecordingModel(ScriptedModel([ModelError("No.")]), file)

    with pytest.raises(ModelError, match="No"):
        await recording.complete(asked(Message("user", "a")))

    assert not file.exists()


async def test_sealed_thoughts_are_left_out_since_nobody_could_use_them(tmp_path):
    thought = Reasoning("Hm.", "acme", "m-1", {"seal": "x"})
    answer = ModelResponse("Yes.", parts=(thought, Text("Yes.")))
    recording = RecordingModel(ScriptedModel([answer]), tmp_path / "calls.jsonl")

    assert await recording.complete(asked(Message("user", "a"))) == answer
    assert "seal" not in (tmp_path / "calls.jsonl").read_text("utf-8")


async def test_a_file_that_cannot_be_written_is_told(tmp_path):
    recording = RecordingModel(BoundModel(ScriptedModel(["Yes."]), ""), tmp_path / "missing" / "calls.jsonl")

    with pytest.raises(ConfigError, match=r"calls\.jsonl' cannot be written: No such file"):
        await recording.complete(asked(Message("user", "a")))
