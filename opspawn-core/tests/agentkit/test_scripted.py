"""The scripted model says what the test wrote down."""

from __future__ import annotations

import pytest

from opspawn.contracts.model import Message, ModelDelta, ModelRequest, ModelResponse, ToolCall
from opspawn.errors import ModelError
from opspawn.testing import ScriptedModel, ScriptEnded

ASK = ModelRequest("", (Message("user", "how?"),))


async def test_each_sort_of_step_is_played_in_order():
    given = ModelResponse("as given", finish_reason="length")
    call, other = ToolCall("1", "a"), ToolCall("2", "b")
    model = ScriptedModel(["text", call, [call, other], given, ModelError("busy", error_type="transient")])

    answers = [await model.complete(ASK) for _ in range(4)]

    assert [answer.text for answer in answers] == ["text", "", "", "as given"]
    assert [answer.tool_calls for answer in answers] == [(), (call,), (call, other), ()]
    assert answers[1].finish_reason == "tool_calls"
    with pytest.raises(ModelError, match="busy"):
        await model.complete(ASK)
    assert len(model.requests) == 5


async def test_a_call_after_the_last_step_says_what_was_asked():
    model = ScriptedModel(["only"])
    await model.complete(ASK)

    with pytest.raises(ScriptEnded, match="The script has 1 steps, and call 2 came, with: 'how\\?'"):
        await model.complete(ASK)


async def test_a_function_answers_by_the_request():
    model = ScriptedModel(lambda request: f"you said {request.messages[-1].content}")

    assert (await model.complete(ASK)).text == "you said how?"


async def test_answers_stream_in_pieces_that_join_to_the_whole():
    deltas: list[ModelDelta] = []
    model = ScriptedModel(["two  words\n", ToolCall("1", "a", {"x": "é"})])

    await model.complete(ASK, deltas.append)
    await model.complete(ASK, deltas.append)

    assert [delta.text for delta in deltas] == ["two  ", "words\n", '{"x": "é"}']
    assert deltas[-1] == ModelDelta("tool_call", '{"x": "é"}', "a")


async def test_closing_is_remembered():
    model = ScriptedModel([])

    await model.aclose()

    assert model.closed
