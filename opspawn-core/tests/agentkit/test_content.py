"""Images, files and reasoning: as an agent's input, as a tool's result, through JSON, and in digests."""

from __future__ import annotations

import base64
import json
from decimal import Decimal

import pytest

from opspawn import Agent, tool
from opspawn.agentkit import codec
from opspawn.agentkit.content import user_message
from opspawn.agentkit.digests import message_digest, request_digest
from opspawn.agentkit.parts import part_to_json, parts_of
from opspawn.contracts.content import Called, File, Image, Reasoning, Text
from opspawn.contracts.model import Message, ModelResponse, ToolCall, Usage
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.tool import ToolResult
from opspawn.errors import InvalidInput
from opspawn.testing import ScriptedModel

DOT = Image(b"\x89PNG\xff\x00", "image/png")
PAPER = File(b"%PDF-1.7", "application/pdf", name="paper.pdf")
THOUGHT = Reasoning("Hm.", "acme", "m-1", {"signature": "s3al"})


class OneTurn:
    """Asks once, acts once, asks again."""

    async def run(self, context):
        messages = [user_message(context.input)]
        first = await context.think(messages)
        results = await context.act(first.tool_calls)
        answer = await context.think([*messages, first.message(), *[result.message() for result in results]])
        return PlannerResult(answer.text)


@pytest.mark.parametrize(
    "part", [Text("é"), DOT, Image(url="https://x.test/a.png"), PAPER, THOUGHT, Reasoning(), Called("call_1")]
)
def test_a_part_comes_back_from_json_as_it_was(part):
    response = ModelResponse(parts=(part,), text=part.text if isinstance(part, Text) else "")

    assert codec.response_from_json(json.loads(json.dumps(codec.response_to_json(response)))) == response


def test_an_answer_with_reasoning_keeps_its_order_and_says_its_text_once():
    call = ToolCall("c", "search", {"q": 1})
    parts = (THOUGHT, Text("Let me "), Text("look."), Called("c"))
    response = ModelResponse(
        "Let me look.", (call,), Usage(requests=1, cache_write_tokens=7, cost=Decimal("0.0100")), "tool_calls",
        parts=parts, source="acme:m-1",
    )  # fmt: skip

    data = json.loads(json.dumps(codec.response_to_json(response)))

    assert "text" not in data
    assert codec.response_from_json(data) == response
    assert response.message() == Message("assistant", "Let me look.", (call,), parts=parts, source="acme:m-1")


def test_a_tool_result_with_an_image_comes_back_as_it_was():
    result = ToolResult("1", "look", "Here:", parts=(Text("Here:"), DOT))

    assert codec.result_from_json(json.loads(json.dumps(codec.result_to_json(result)))) == result
    assert result.message().parts == (Text("Here:"), DOT)


def test_content_and_parts_of_a_message_say_the_same():
    asked = Message("user", "What is this?", parts=(DOT,))
    mixed = Message("user", parts=(Text("This "), DOT, Text("or that?")))

    assert asked.parts == (Text("What is this?"), DOT)
    assert mixed.content == "This or that?"
    assert Message("user", "hi").parts == ()


def test_the_digest_of_a_plain_message_is_that_of_older_recordings():
    assert request_digest([Message("system", "Be brief."), Message("user", "hi")]) == "146e93db1742df17513284a0ce6b9c66"


def test_a_digest_tells_images_apart_and_does_not_look_at_reasoning():
    plain = Message("assistant", "Yes.")
    thought = Message("assistant", "Yes.", parts=(THOUGHT, Text("Yes.")), source="acme:m-1")

    assert message_digest(thought) == message_digest(plain)
    assert message_digest(Message("user", "a", parts=(DOT,))) != message_digest(Message("user", "a"))
    other = Image(DOT.data + b"1", DOT.media_type)
    assert message_digest(Message("user", "a", parts=(DOT,))) != message_digest(Message("user", "a", parts=(other,)))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("hi", Message("user", "hi")),
        ({"input": "hi"}, Message("user", "hi")),
        ({"a": [1]}, Message("user", '{"a":[1]}')),
        (["a", "b"], Message("user", '["a","b"]')),
        (["What?", DOT], Message("user", "What?", parts=(DOT,))),
        (DOT, Message("user", parts=(DOT,))),
        ([{"type": "text", "text": "What?"}, part_to_json(PAPER)], Message("user", "What?", parts=(PAPER,))),
        ({"input": [part_to_json(DOT)]}, Message("user", parts=(DOT,))),
        ([DOT, 3], None),
    ],
)
def test_an_input_becomes_the_message_of_the_user(value, message):
    if message is None:
        assert parts_of(value) == ()
    else:
        assert user_message(value) == message


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "mediaType": "image/png", "data": "no base64!"},
        {"type": "image", "data": base64.b64encode(b"x").decode()},
        {"type": "file", "mediaType": "application/pdf", "data": 7},
    ],
)
def test_an_image_that_cannot_be_read_is_refused_with_its_place(part):
    with pytest.raises(InvalidInput, match=r"^Part 1 of the input, of type '(image|file)', cannot be read"):
        user_message(["What?", part])


@pytest.mark.parametrize("make", [Image, File])
def test_a_part_has_bytes_with_their_type_or_an_address(make):
    for wrong in ({}, {"data": b"x"}, {"data": b"x", "url": "https://x.test"}, {"data": b"x", "media_type": "png"}):
        with pytest.raises(ValueError, match=r"takes either data or url|needs its media_type"):
            make(**wrong)


def test_a_file_is_read_with_its_type_and_name(tmp_path):
    (tmp_path / "a.pdf").write_bytes(PAPER.data)
    (tmp_path / "strange").write_bytes(b"")

    assert File.read(tmp_path / "a.pdf") == File(PAPER.data, "application/pdf", name="a.pdf")
    with pytest.raises(ValueError, match="pass media_type"):
        Image.read(tmp_path / "strange")


@pytest.mark.parametrize(
    ("value", "parts"), [(DOT, (DOT,)), (["See:", DOT, PAPER], (Text("See:"), DOT, PAPER)), ("plain", ())]
)
async def test_what_a_tool_shows_reaches_the_model(value, parts):
    @tool(effect="read")
    async def look() -> object:
        return value

    model = ScriptedModel([ToolCall("1", "look"), "I see."])

    result = await Agent("viewer", model=model, planner=OneTurn(), tools=[look]).run(["What is it?", DOT])

    assert result.output == "I see."
    assert model.requests[0].messages[0] == Message("user", "What is it?", parts=(DOT,))
    assert model.requests[1].messages[-1].parts == parts


def test_the_cost_of_several_calls_is_known_only_if_each_is():
    known, unknown = Usage(1, requests=1, cost=Decimal("0.5")), Usage(1, requests=1)

    assert (Usage() + known + known).cost == Decimal("1.0")
    assert (known + Usage()).cost == Decimal("0.5")
    assert (known + unknown).cost is None
    assert (known + unknown + known).cost is None
