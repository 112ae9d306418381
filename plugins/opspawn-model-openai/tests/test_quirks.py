"""What servers other than OpenAI do differently, and what gateways add: the bytes are given, the answer is checked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from opspawn.contracts.model import Message, ModelDelta, ModelProvider, ModelRequest, Usage
from opspawn.errors import ModelError

HELLO = ModelRequest("m", [Message("user", "Hello?")])
Speak = Callable[..., Awaitable[ModelProvider]]


@pytest.fixture
def speak(stack: AsyncExitStack, open_provider: Callable[..., ModelProvider]) -> Speak:
    """Open a provider at a server that answers every request with the given JSON: one object, or events of a stream."""

    async def start(*said: Any, dialect: str = "chat", stream: bool = True) -> ModelProvider:
        kind = "text/event-stream" if stream else "application/json"
        parts = [part if isinstance(part, str) else json.dumps(part) for part in said]
        body = "".join(f"data: {part}\n\n" for part in parts) if stream else parts[0]

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            # No length and no chunks: the body ends with the connection, as small servers do it.
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n{body}".encode())
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        stack.callback(server.close)
        return open_provider(base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", dialect=dialect)

    return start


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"id": "x", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def call(name: str | None = None, arguments: Any = None, **fields: Any) -> dict[str, Any]:
    return {"tool_calls": [{**fields, "function": {"name": name, "arguments": arguments}}]}


async def ask(provider: ModelProvider, deltas: list[ModelDelta] | None = None) -> Any:
    return await provider.complete(HELLO, (deltas if deltas is not None else []).append)


async def test_a_stream_may_end_without_done_once_it_gave_a_finish_reason(speak):
    provider = await speak(chunk(content="Fine."), chunk("stop"))

    answer = await ask(provider)

    assert (answer.text, answer.finish_reason, answer.request_id) == ("Fine.", "stop", "x")


async def test_done_without_a_finish_reason_is_no_whole_answer(speak):
    provider = await speak(chunk(content="Fine"), "[DONE]")

    with pytest.raises(ModelError) as caught:
        await ask(provider)

    assert caught.value.error_type == "transient"


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
async def test_reasoning_streams_under_either_name(speak, field):
    provider = await speak(chunk(**{field: "Hm."}), chunk("stop", content="Yes."), "[DONE]")
    deltas: list[ModelDelta] = []

    answer = await ask(provider, deltas)

    assert answer.text == "Yes."
    assert deltas == [ModelDelta("reasoning", "Hm."), ModelDelta("text", "Yes.")]


async def test_whole_calls_that_are_all_numbered_0_stay_apart(speak):
    provider = await speak(
        chunk(**call("a", '{"x": 1}', index=0, id="call_1")),
        chunk(**call("b", '{"x": 2}', index=0, id="call_2")),
        chunk("stop"),
        "[DONE]",
    )

    answer = await ask(provider)

    assert [(c.id, c.name, c.arguments) for c in answer.tool_calls] == [
        ("call_1", "a", {"x": 1}),
        ("call_2", "b", {"x": 2}),
    ]
    assert answer.finish_reason == "tool_calls"


async def test_pieces_of_a_call_without_a_number_belong_to_the_last_one(speak):
    provider = await speak(
        chunk(**call("a", "", id="call_1")),
        chunk(**call(None, '{"x":')),
        chunk(**call(None, " 1}")),
        chunk("tool_calls"),
    )

    answer = await ask(provider)

    assert [(c.id, c.arguments) for c in answer.tool_calls] == [("call_1", {"x": 1})]


async def test_interleaved_pieces_are_put_together_by_number(speak):
    provider = await speak(
        chunk(**call("a", '{"x"', index=0, id="call_1")),
        chunk(**call("b", '{"y"', index=1, id="call_2")),
        chunk(**call(None, ": 1}", index=0)),
        chunk(**call(None, ": 2}", index=1)),
        chunk("tool_calls"),
    )

    answer = await ask(provider)

    assert [c.arguments for c in answer.tool_calls] == [{"x": 1}, {"y": 2}]


async def test_arguments_may_come_as_an_object(speak):
    provider = await speak(chunk(**call("a", {"x": 1}, index=0)), chunk("stop"))

    answer = await ask(provider)

    assert [(c.id, c.arguments) for c in answer.tool_calls] == [("call_0", {"x": 1})]


async def test_calls_with_one_and_the_same_id_get_ids_of_their_own(speak):
    message = {"role": "assistant", "content": "", "tool_calls": [*call("a", "{}", id="t")["tool_calls"]] * 2}
    provider = await speak({"choices": [{"message": message, "finish_reason": "stop"}]}, stream=False)

    answer = await provider.complete(HELLO)

    assert [c.id for c in answer.tool_calls] == ["t", "call_0"]


async def test_running_totals_of_usage_are_not_added_up(speak):
    provider = await speak(
        {**chunk(content="a"), "usage": {"prompt_tokens": 5, "completion_tokens": 1}},
        {**chunk("stop", content="b"), "usage": {"prompt_tokens": 5, "completion_tokens": 2}},
    )

    answer = await ask(provider)

    assert answer.usage == Usage(5, 2, requests=1)


async def test_a_refusal_is_the_answer_and_counts_as_filtered(speak):
    message = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
    provider = await speak({"choices": [{"message": message, "finish_reason": "stop"}]}, stream=False)

    answer = await provider.complete(HELLO)

    assert (answer.text, answer.finish_reason) == ("I cannot help with that.", "content_filter")


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 502, "message": "upstream went away"}, "transient"),
        ({"code": 429, "message": "too fast"}, "rate_limited"),
        ({"code": "rate_limit_exceeded", "message": "too fast"}, "rate_limited"),
        ({"code": "insufficient_quota", "message": "empty"}, "denied"),
        ({"code": "context_length_exceeded", "message": "too long"}, "context_overflow"),
        ({"type": "invalid_request_error", "message": "no"}, "permanent"),
        ({"message": "overloaded"}, "transient"),
    ],
)
@pytest.mark.parametrize("dialect", ["chat", "responses"])
async def test_an_error_inside_an_answer_of_status_200_has_its_class(speak, error, kind, stream, dialect):
    provider = await speak({"error": error}, dialect=dialect, stream=stream)

    with pytest.raises(ModelError) as caught:
        await provider.complete(HELLO, [].append if stream else None)

    assert caught.value.error_type == kind
    assert error["message"] in str(caught.value)


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"type": "error", "code": "server_error", "message": "oh no", "param": None}, "transient"),
        ({"type": "error", "code": "rate_limit_exceeded", "message": "oh no"}, "rate_limited"),
        ({"type": "error", "code": None, "message": "oh no"}, "transient"),
        ({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "oh no"}}}, "transient"),
        (
            {"type": "response.failed", "response": {"error": {"code": "invalid_prompt", "message": "oh no"}}},
            "permanent",
        ),
    ],
)
async def test_a_response_that_fails_on_the_way_has_its_class(speak, event, kind):
    provider = await speak({"type": "response.output_text.delta", "delta": "Fi"}, event, dialect="responses")

    with pytest.raises(ModelError, match="oh no") as caught:
        await ask(provider)

    assert caught.value.error_type == kind


async def test_items_sent_one_by_one_make_up_for_an_empty_last_event(speak):
    item = {"type": "message", "content": [{"type": "output_text", "text": "Fine."}]}
    provider = await speak(
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": []}},
        dialect="responses",
    )

    answer = await ask(provider)

    assert answer.text == "Fine."


async def test_an_event_that_is_not_json_breaks_the_answer_off(speak):
    provider = await speak(chunk(content="Fi"), '{"choices": [{"del')

    with pytest.raises(ModelError, match="not JSON") as caught:
        await ask(provider)

    assert caught.value.error_type == "transient"


@pytest.mark.parametrize("said", [{"hello": "world"}, [1, 2], {"choices": []}, {"choices": [{"message": None}]}])
async def test_json_of_another_protocol_is_told_as_such(speak, said):
    provider = await speak(said, stream=False)

    with pytest.raises(ModelError, match="does not speak this protocol") as caught:
        await provider.complete(HELLO)

    assert caught.value.error_type == "permanent"
