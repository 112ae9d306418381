"""What is peculiar to this protocol: caching, thinking, schemas, sampling, keys, and who is told what it cannot do."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from opspawn.contracts.model import File, Image, Message, ModelRequest, Reasoning, ToolCall, ToolSpec
from opspawn.errors import ModelError, PluginError
from opspawn.testing.anthropic_server import AnthropicServer, CallTools, Fail, Say
from opspawn_model_anthropic import AnthropicConfig, opspawn_models

MODEL = "claude-opus-5"
FINE = Say("Fine.")
ASK = Message("user", "Hello?")
SEARCH = ToolSpec("search", "Search.", {"type": "object", "properties": {"query": {"type": "string"}}})
LIST = {"type": "array", "items": {"type": "integer"}}
TABLE = {"type": "object", "additionalProperties": {"type": "integer"}}
POINT = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def ask(stack: AsyncExitStack) -> Callable[..., Any]:
    """Ask a server that answers with `steps`; returns the answers' last, and the server."""

    async def asking(*messages: Message, steps: Any = (FINE,), streamed: bool = False, **fields: Any) -> Any:
        server = await stack.enter_async_context(AnthropicServer(list(steps)))
        provider = open_it(base_url=server.base_url, **fields.pop("section", {}))
        stack.push_async_callback(provider.aclose)
        request = ModelRequest(fields.pop("model", MODEL), messages or (ASK,), **fields)
        answer = await provider.complete(request, (lambda delta: None) if streamed else None)
        return answer, server.requests[-1]["body"], server

    return asking


def open_it(**section: Any) -> Any:
    (record,) = opspawn_models()
    return record.open(AnthropicConfig.model_validate(section))


async def test_the_begin_and_the_end_of_a_conversation_are_marked_for_the_cache(ask):
    _, body, _ = await ask(Message("system", "Be brief."), ASK, tools=[SEARCH])

    assert body["system"][-1]["cache_control"] == {"type": "ephemeral"}
    assert body["messages"][-1]["content"][-1]["cache_control"] == {"type": "ephemeral"}
    assert "cache_control" not in body["tools"][-1]


async def test_without_instructions_the_tools_end_what_is_stable(ask):
    _, body, _ = await ask(ASK, tools=[SEARCH], section={"cache": "1h"})

    assert body["tools"][-1]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}


async def test_the_cache_can_be_left_alone(ask):
    _, body, _ = await ask(Message("system", "Be brief."), ASK, tools=[SEARCH], section={"cache": "off"})

    assert "cache_control" not in json.dumps(body)


async def test_an_answer_must_have_a_longest_length(ask):
    _, by_default, _ = await ask()
    _, by_setting, _ = await ask(settings={"max_output_tokens": 77}, section={"max_tokens": 500})

    assert (by_default["max_tokens"], by_setting["max_tokens"]) == (32_000, 77)


async def test_sampling_is_asked_for_in_the_version_that_knows_it(ask):
    """The protocol's present version refuses it; without it, that version is spoken."""
    _, body, server = await ask(settings={"temperature": 0})
    _, _, other = await ask()

    assert body["temperature"] == 0
    assert server.requests[0]["headers"]["anthropic-version"] == "2023-06-01"
    assert other.requests[0]["headers"]["anthropic-version"] > "2023-06-01"


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"reasoning_effort": "minimal"}, {"output_config": {"effort": "low"}}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ({"tool_choice": "required"}, {"tool_choice": {"type": "any"}}),
        ({"tool_choice": "search"}, {"tool_choice": {"type": "tool", "name": "search"}}),
        ({"parallel_tool_calls": False}, {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
    ],
)
async def test_common_settings_get_the_names_of_this_protocol(ask, settings, wanted):
    _, body, _ = await ask(tools=[SEARCH], settings=settings)

    assert {key: body[key] for key in wanted} == wanted


async def test_a_choice_of_tools_without_tools_is_left_out(ask):
    _, body, _ = await ask(settings={"tool_choice": "required"})

    assert "tool_choice" not in body


async def test_thinking_of_a_fixed_budget_waits_when_the_turn_began_with_another_model(ask):
    """The protocol refuses to begin thinking in the middle of a turn; the next turn thinks again."""
    call = ToolCall("call_1", "search", {})
    foreign = Message("assistant", "", (call,), source="openai:gpt-5")
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 2000}}
    talk = (ASK, foreign, Message("tool", "found", tool_call_id="call_1"))

    _, midway, _ = await ask(*talk, tools=[SEARCH], settings=thinking)
    _, after, _ = await ask(*talk, Message("assistant", "It is."), ASK, tools=[SEARCH], settings=thinking)

    assert "thinking" not in midway
    assert after["thinking"] == thinking["thinking"]


async def test_redacted_thoughts_go_back(ask):
    thought = Reasoning("", "anthropic", MODEL, {"redacted": "sealed"})
    said = Message("assistant", "", (ToolCall("toolu_1", "search", {}),), parts=(thought,))

    _, body, _ = await ask(ASK, said, Message("tool", "found", tool_call_id="toolu_1"), tools=[SEARCH])

    assert body["messages"][1]["content"][0] == {"type": "redacted_thinking", "data": "sealed"}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("schema", "given", "answer"),
    [(TABLE, {"a": 1}, {"a": 1}), (LIST, {"value": [1, 2]}, [1, 2])],
)
async def test_what_the_vendor_cannot_enforce_is_asked_for_as_the_arguments_of_a_tool(
    ask, schema, given, answer, streamed
):
    section = {"output": "tool"} if schema is LIST else {}
    steps = [CallTools([("final_answer", given)])]

    said, body, _ = await ask(output_schema=schema, steps=steps, section=section, streamed=streamed)

    assert json.loads(said.text) == answer
    assert (said.tool_calls, said.finish_reason) == ((), "stop")
    assert body["tools"][-1]["name"] == "final_answer"
    assert body["tool_choice"] == {"type": "any"}


async def test_open_objects_are_closed_for_the_vendor(ask):
    _, body, _ = await ask(output_schema={**POINT, "$defs": {"inner": POINT}}, steps=[Say('{"x": 1}')])

    schema = body["output_config"]["format"]["schema"]
    assert schema["additionalProperties"] is schema["$defs"]["inner"]["additionalProperties"] is False


async def test_a_text_file_is_read_as_text_and_a_pdf_as_it_is(ask):
    files = (File(b"Call Bob.", "text/plain", name="a.txt"), File(b"%PDF", "application/pdf"))

    _, body, _ = await ask(Message("user", "Read.", parts=files))

    _, text, paper = body["messages"][0]["content"]
    assert text["source"] == {"type": "text", "media_type": "text/plain", "data": "Call Bob."}
    assert (text["title"], paper["source"]["media_type"]) == ("a.txt", "application/pdf")


@pytest.mark.parametrize(
    "part", [Image(b"x", "image/tiff"), File(b"x", "application/zip")], ids=["a TIFF image", "an archive"]
)
async def test_what_the_vendor_cannot_read_is_refused_before_anything_is_sent(ask, part):
    with pytest.raises(ModelError, match=rf"cannot show its models a \w+ of type {part.media_type}") as caught:
        await ask(Message("user", "Read.", parts=(part,)))

    assert caught.value.error_type == "permanent"


def refused(words: str) -> Fail:
    return Fail(400, body={"error": {"type": "invalid_request_error", "message": words}})


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Fail(413), "context_overflow"),
        (refused("prompt is too long: 9 tokens"), "context_overflow"),
        (refused("Your credit balance is too low"), "denied"),
        (Fail(529), "rate_limited"),
        (Fail(500, body="<html>Bad gateway</html>"), "transient"),
    ],
)
async def test_an_error_has_its_class(ask, failure, kind):
    with pytest.raises(ModelError) as caught:
        await ask(steps=[failure])

    assert caught.value.error_type == kind
    assert "<html>" not in str(caught.value)


async def test_tokens_are_counted_by_the_vendor(stack):
    server = await stack.enter_async_context(AnthropicServer([]))
    provider = open_it(base_url=server.base_url)
    stack.push_async_callback(provider.aclose)

    assert await provider.count_tokens(ModelRequest(MODEL, [Message("user", "one two three")])) == 3


def test_a_model_is_known_by_its_name():
    provider = open_it(api_key="secret-key")

    new, older, strange = (provider.capabilities(name) for name in (MODEL, "claude-haiku-4-5-20251001", "glm-5"))

    assert (new.context_tokens, new.images, new.output_schema, new.count_tokens) == (1_000_000, True, True, True)
    assert (older.context_tokens, strange.context_tokens, strange.images) == (200_000, None, None)


def test_a_key_is_needed_at_anthropic_and_nowhere_else(monkeypatch):
    with pytest.raises(PluginError, match=r"no API key for the model provider 'anthropic'.*ANTHROPIC_API_KEY"):
        open_it()
    open_it(base_url="http://127.0.0.1:8080")
    monkeypatch.setitem(os.environ, "ANTHROPIC_API_KEY", "secret")
    open_it()


def test_an_address_from_the_environment_is_checked(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "nowhere")

    with pytest.raises(PluginError, match="ANTHROPIC_BASE_URL is 'nowhere', which is no address"):
        open_it()
