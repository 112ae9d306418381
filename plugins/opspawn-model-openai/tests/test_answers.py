"""What a good answer becomes, and how a request looks to the server, which refuses what the real one would."""

from __future__ import annotations

import json

import pytest

from opspawn.contracts.model import Message, ModelDelta, ToolSpec, Usage
from opspawn.errors import ModelError
from opspawn.testing.openai_server import CallTools, Malformed, Say

SEARCH = ToolSpec(
    "search",
    "Search the handbook.",
    {
        "type": "object",
        "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}},
        "required": ["query"],
    },
)
STRICT = {
    "type": "object",
    "properties": {"tags": {"type": "array", "items": {"type": "string"}}},
    "required": ["tags"],
    "additionalProperties": False,
}
LOOSE = {"type": "object", "properties": {"tag": {"type": "string", "default": "x"}}}


async def test_a_plain_answer_is_returned_whole(serve, asker):
    server = await serve(Say("Tokens are reset\nin the portal. "))
    ask = asker(server)

    answer = await ask(Message("system", "Be brief."), Message("user", "How do I reset a token?"))

    assert (answer.text, answer.tool_calls, answer.finish_reason) == ("Tokens are reset\nin the portal. ", (), "stop")
    assert (answer.model, answer.request_id) == ("test-model", "req_1")
    assert [(m["role"], m["content"]) for m in server.requests[0]["messages"]] == [
        ("system", "Be brief."),
        ("user", "How do I reset a token?"),
    ]


async def test_an_empty_answer_is_an_answer(serve, asker):
    ask = asker(await serve(Say("")))

    answer = await ask()

    assert (answer.text, answer.tool_calls, answer.finish_reason) == ("", (), "stop")


async def test_parallel_tool_calls_keep_their_order_and_arguments(serve, asker):
    server = await serve(CallTools([("search", {"query": "tökens"}), ("search", {"query": "keys", "limit": 2})]))
    ask = asker(server)

    answer = await ask(tools=[SEARCH])

    assert [(c.name, c.arguments) for c in answer.tool_calls] == [
        ("search", {"query": "tökens"}),
        ("search", {"query": "keys", "limit": 2}),
    ]
    assert len({call.id for call in answer.tool_calls}) == 2
    assert answer.finish_reason == "tool_calls"
    assert server.requests[0]["tools"][0] == {
        "name": "search",
        "description": SEARCH.description,
        "parameters": SEARCH.parameters,
    }


async def test_a_conversation_with_tool_results_is_taken_by_the_server(serve, asker):
    server = await serve(
        CallTools([("search", {"query": "a"}), ("search", {"query": "b"})], text="Looking."), Say("Done.")
    )
    ask = asker(server)
    question = Message("user", "Go on.")
    first = await ask(question, tools=[SEARCH])

    one, two = first.tool_calls
    results = (
        Message("tool", "found", tool_call_id=one.id),
        Message("tool", "no such index", tool_call_id=two.id, is_error=True),
    )
    second = await ask(question, first.message(), *results, tools=[SEARCH])

    assert second.text == "Done."
    _, assistant, found, failed = server.requests[1]["messages"]
    assert assistant["content"] == "Looking."
    assert [json.loads(call["arguments"]) for call in assistant["tool_calls"]] == [{"query": "a"}, {"query": "b"}]
    assert (found["content"], failed["content"]) == ("found", "Error: no such index")


async def test_usage_is_reported_with_its_details(serve, asker):
    usage = Usage(120, 30, cached_tokens=100, reasoning_tokens=20, requests=1)
    ask = asker(await serve(Say("Fine.", usage=usage)))

    answer = await ask()

    assert answer.usage == usage


async def test_a_server_without_usage_counts_as_one_request_of_no_tokens(serve, asker):
    ask = asker(await serve(Say("Fine.", omit_usage=True)))

    answer = await ask()

    assert answer.usage == Usage(requests=1)


async def test_malformed_arguments_are_kept_as_text(serve, asker):
    ask = asker(await serve(Malformed("search", '{"query": "tok')))

    answer = await ask(tools=[SEARCH])

    (call,) = answer.tool_calls
    assert (call.name, call.arguments, call.malformed) == ("search", {}, '{"query": "tok')


@pytest.mark.parametrize("raw", ["[1, 2]", '"text"', '{"query": NaN}', "{'query': 1}"])
async def test_arguments_that_are_no_json_object_are_malformed(serve, asker, raw):
    ask = asker(await serve(Malformed("search", raw)))

    answer = await ask(tools=[SEARCH])

    assert answer.tool_calls[0].malformed == raw


async def test_empty_arguments_mean_none(serve, asker):
    ask = asker(await serve(Malformed("now", "")))

    answer = await ask(tools=[ToolSpec("now", "The time.", {"type": "object", "properties": {}})])

    assert answer.tool_calls[0].arguments == {}
    assert answer.tool_calls[0].malformed is None


async def test_a_malformed_call_does_not_break_the_rest_of_the_conversation(serve, asker):
    server = await serve(Malformed("search", "{oops"), Say("Sorry."))
    ask = asker(server)
    first = await ask(Message("user", "Go."), tools=[SEARCH])

    refusal = Message("tool", "not a JSON object", tool_call_id=first.tool_calls[0].id, is_error=True)
    second = await ask(Message("user", "Go."), first.message(), refusal, tools=[SEARCH])

    assert second.text == "Sorry."


async def test_missing_ids_are_made_up_the_same_each_time_and_unique_in_the_conversation(serve, asker):
    two = CallTools([("search", {"query": "a"}), ("search", {"query": "b"})], ids=False)
    ask = asker(await serve(two, two, two))
    question = Message("user", "Go.")

    first = await ask(question, tools=[SEARCH])
    again = await ask(question, tools=[SEARCH])
    results = [Message("tool", "ok", tool_call_id=call.id) for call in first.tool_calls]
    later = await ask(question, first.message(), *results, tools=[SEARCH])

    assert [call.id for call in first.tool_calls] == [call.id for call in again.tool_calls] == ["call_0", "call_1"]
    assert [call.id for call in later.tool_calls] == ["call_2", "call_3"]


@pytest.mark.parametrize(("schema", "strict"), [(STRICT, True), (LOOSE, False)])
async def test_an_output_schema_is_strict_where_openai_can_enforce_it(serve, asker, dialect, schema, strict):
    server = await serve(Say('{"tags": ["a"]}'))
    ask = asker(server)

    answer = await ask(output_schema=schema)

    body = server.requests[0]["body"]
    held = body["response_format"]["json_schema"] if dialect == "chat" else body["text"]["format"]
    assert (held["schema"], held["strict"]) == (schema, strict)
    assert json.loads(answer.text) == {"tags": ["a"]}


@pytest.mark.parametrize("finish", ["length", "content_filter"])
async def test_an_answer_that_was_cut_short_says_why(serve, asker, finish):
    ask = asker(await serve(Say("Once upon a", finish=finish)))

    answer = await ask()

    assert (answer.text, answer.finish_reason) == ("Once upon a", finish)


async def test_settings_get_the_names_of_the_dialect(serve, asker, dialect):
    server = await serve(Say("Fine."))
    ask = asker(server)

    await ask(
        tools=[SEARCH],
        settings={"temperature": 0.2, "max_tokens": 99, "reasoning_effort": "low", "tool_choice": "search", "top_k": 3},
    )

    body = server.requests[0]["body"]
    assert (body["temperature"], body["top_k"]) == (0.2, 3)
    if dialect == "chat":
        assert (body["max_tokens"], body["reasoning_effort"]) == (99, "low")
        assert body["tool_choice"] == {"type": "function", "function": {"name": "search"}}
    else:
        assert (body["max_output_tokens"], body["reasoning"]) == (99, {"effort": "low"})
        assert body["tool_choice"] == {"type": "function", "name": "search"}
        assert body["store"] is False


async def test_a_setting_that_the_provider_decides_is_refused_before_anything_is_sent(serve, asker):
    server = await serve(Say("Never."))
    ask = asker(server)

    with pytest.raises(ModelError, match=r"'stream' cannot be a model setting\. Take it out") as caught:
        await ask(settings={"stream": True})

    assert caught.value.error_type == "permanent"
    assert server.requests == []


async def test_deltas_put_together_are_the_answer(serve, asker, streamed):
    ask = asker(await serve(Say("One two  three.", reasoning="Let me count.")))

    answer = await ask()

    assert answer.text == "One two  three."
    texts = {kind: "".join(d.text for d in ask.deltas if d.kind == kind) for kind in ("reasoning", "text")}
    assert texts == ({"reasoning": "Let me count.", "text": answer.text} if streamed else {"reasoning": "", "text": ""})


async def test_deltas_of_tool_calls_name_their_tool(serve, asker, streamed):
    ask = asker(await serve(CallTools([("search", {"query": "a b c"})])))

    answer = await ask(tools=[SEARCH])

    assert answer.tool_calls[0].arguments == {"query": "a b c"}
    if streamed:
        assert {(d.kind, d.tool) for d in ask.deltas} == {("tool_call", "search")}
        assert json.loads("".join(d.text for d in ask.deltas)) == {"query": "a b c"}
        assert all(isinstance(delta, ModelDelta) for delta in ask.deltas)


async def test_one_connection_serves_one_call_after_the_other(serve, asker):
    server = await serve(lambda request: Say(str(request["n"])))
    ask = asker(server)

    texts = [(await ask()).text for _ in range(3)]

    assert texts == ["1", "2", "3"]
    assert server.connections == 1


async def test_an_assistant_message_without_words_is_no_error(serve, asker):
    ask = asker(await serve(Say("Fine.")))

    answer = await ask(Message("user", "a"), Message("assistant", ""), Message("user", "b"))

    assert answer.text == "Fine."
