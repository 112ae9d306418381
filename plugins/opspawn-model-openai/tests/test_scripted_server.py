"""The scripted server is worth something only if the official client takes it for the real one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import openai
import pytest

from opspawn.testing.openai_server import (
    BreakStream,
    CallTools,
    Fail,
    Hang,
    Malformed,
    OpenAIServer,
    Say,
    load_script,
    step_from_json,
)

TOOL = {"type": "object", "properties": {"query": {"type": "string"}}}
CHAT_TOOLS = [{"type": "function", "function": {"name": "search", "parameters": TOOL}}]
TOOLS = [{"type": "function", "name": "search", "parameters": TOOL, "strict": False}]


@pytest.fixture
def client(stack):
    async def connect(server: OpenAIServer) -> openai.AsyncOpenAI:
        made = openai.AsyncOpenAI(base_url=server.base_url, api_key="any", max_retries=0)
        return await stack.enter_async_context(made)

    return connect


async def test_the_official_client_accumulates_a_streamed_response(serve, client):
    official = await client(await serve(Say("One two three.", reasoning="Let me count.")))

    async with official.responses.stream(model="m", input="Count.") as stream:
        kinds = [event.type async for event in stream]
        response = await stream.get_final_response()

    assert response.output_text == "One two three."
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert response.usage is not None
    assert response.usage.total_tokens > 0


async def test_the_official_client_accumulates_streamed_function_calls(serve, client):
    official = await client(await serve(CallTools([("search", {"query": "a b"}), ("search", {"query": "c"})])))

    async with official.responses.stream(model="m", input="Go.", tools=TOOLS) as stream:
        response = await stream.get_final_response()

    calls = [item for item in response.output if item.type == "function_call"]
    assert [json.loads(call.arguments) for call in calls] == [{"query": "a b"}, {"query": "c"}]


async def test_the_official_client_accumulates_a_streamed_chat_completion(serve, client):
    official = await client(await serve(CallTools([("search", {"query": "a b"})], text="Looking.")))

    messages = [{"role": "user", "content": "Go."}]
    options = {"include_usage": True}
    async with official.chat.completions.stream(
        model="m", messages=messages, tools=CHAT_TOOLS, stream_options=options
    ) as stream:
        completion = await stream.get_final_completion()

    choice = completion.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("Looking.", "tool_calls")
    assert json.loads(choice.message.tool_calls[0].function.arguments) == {"query": "a b"}
    assert completion.usage.total_tokens > 0


async def test_the_official_client_lists_the_models(serve, client):
    official = await client(await serve(Say("Never."), models=("a", "b")))

    models = await official.models.list()

    assert [model.id for model in models.data] == ["a", "b"]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}, "must provide a model"),
        ("chat/completions", {"model": "m"}, "Missing required parameter: 'messages'"),
        ("chat/completions", {"model": "m", "messages": [{"role": "robot", "content": "Hi"}]}, "messages[0].role"),
        ("chat/completions", {"model": "m", "input": "Hi"}, "Unknown parameter: 'input'"),
        (
            "chat/completions",
            {"model": "m", "messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}]},
            "must be a response to a preceding message with 'tool_calls'",
        ),
        (
            "chat/completions",
            {
                "model": "m",
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "a", "arguments": "{}"}}],
                    },
                    {"role": "user", "content": "Well?"},
                ],
            },
            "did not have response messages: ['c']",
        ),
        ("responses", {"model": "m"}, "Missing required parameter: 'input'"),
        ("responses", {"model": "m", "input": "Hi", "max_tokens": 1}, "Unknown parameter: 'max_tokens'"),
        ("responses", {"model": "m", "input": "Hi", "tools": [{**TOOLS[0], "strict": True}]}, "Invalid schema"),
        (
            "responses",
            {"model": "m", "input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]},
            "No tool call found for function call output with call_id c",
        ),
    ],
)
async def test_what_the_real_server_refuses_is_refused_and_uses_up_no_step(serve, client, path, body, words):
    server = await serve(Say("Fine."))
    official = await client(server)

    with pytest.raises(openai.BadRequestError) as caught:
        await official.post(f"/{path}", body=body, cast_to=object)

    assert words in str(caught.value)
    assert server.requests == []
    answer = await official.responses.create(model="m", input="Hi")
    assert answer.output_text == "Fine."


async def test_a_function_sees_the_same_conversation_in_both_dialects(serve, client):
    seen = []

    async def script(request):
        seen.append({key: request[key] for key in ("messages", "tools", "model", "stream")})
        return Say("Fine.")

    official = await client(await serve(script))
    function = {"name": "search", "arguments": '{"query": "a"}'}
    await official.chat.completions.create(
        model="m",
        messages=[
            {"role": "user", "content": "Go."},
            {
                "role": "assistant",
                "content": "Sure.",
                "tool_calls": [{"id": "c", "type": "function", "function": function}],
            },
            {"role": "tool", "content": "found", "tool_call_id": "c"},
        ],
        tools=CHAT_TOOLS,
    )
    await official.responses.create(
        model="m",
        input=[
            {"role": "user", "content": "Go."},
            {"role": "assistant", "content": "Sure."},
            {"type": "function_call", "call_id": "c", **function},
            {"type": "function_call_output", "call_id": "c", "output": "found"},
        ],
        tools=TOOLS,
    )

    for message in (m for one in seen for m in one["messages"]):
        message.setdefault("tool_calls", [])
    assert seen[0] == seen[1]


async def test_after_its_last_step_a_script_refuses_rather_than_fails(serve, client):
    official = await client(await serve(Say("Only this.")))
    await official.responses.create(model="m", input="Hi")

    with pytest.raises(openai.BadRequestError, match="The script has only 1 steps"):
        await official.responses.create(model="m", input="Hi")


async def test_a_mistake_in_a_script_is_told_to_the_client(serve, client):
    official = await client(await serve(lambda request: request["nothing"]))

    with pytest.raises(openai.BadRequestError, match="The script failed: KeyError"):
        await official.responses.create(model="m", input="Hi")


@pytest.mark.parametrize(
    ("entry", "step"),
    [
        ({"say": "Hi", "latency_s": 0.5}, Say("Hi", latency_s=0.5)),
        ({"call_tools": [["a", {"x": 1}]]}, CallTools([("a", {"x": 1})])),
        ({"malformed": ["a", "{"]}, Malformed("a", "{")),
        ({"fail": 429, "retry_after": 2}, Fail(429, retry_after=2)),
        ({"break_stream": 2, "answer": {"say": "x"}}, BreakStream(2, Say("x"))),
        ({"hang": 5}, Hang(5)),
    ],
)
def test_a_step_can_be_written_as_json(entry, step):
    assert step_from_json(entry) == step


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"say": "Hi"}', "a script is a list of steps"),
        ('[{"sing": "la"}]', "has none of the keys say, call_tools"),
        ('[{"say": "Hi", "loud": true}]', "loud"),
        ("[", "Expecting value"),
    ],
)
def test_a_wrong_script_is_told_with_its_file(tmp_path, text, words):
    path = tmp_path / "steps.json"
    path.write_text(text)

    with pytest.raises(ValueError, match=words) as caught:
        load_script(path)

    assert str(path) in str(caught.value)


@pytest.fixture
def process(tmp_path):
    """The server as a process with a script that shouts, and hangs for the model "slow"."""
    script = tmp_path / "script.py"
    script.write_text(
        "from opspawn.testing.openai_server import Hang, Say\n"
        "def script(request):\n"
        "    return Hang(60) if request['model'] == 'slow' else Say(request['messages'][-1]['content'].upper())\n"
    )
    log = str(tmp_path / "requests.jsonl")
    command = [sys.executable, "-m", "opspawn.testing.openai_server", "--script", str(script), "--log", log]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        yield started
        started.kill()


async def test_it_runs_as_a_process_and_logs_each_request_before_answering(process, tmp_path, stack):
    base_url = process.stdout.readline().removeprefix("listening on ").strip()
    client = await stack.enter_async_context(openai.AsyncOpenAI(base_url=base_url, api_key="any", max_retries=0))

    answer = await client.responses.create(model="m", input="hello")
    with pytest.raises(openai.APITimeoutError):
        await client.responses.create(model="slow", input="hello", timeout=0.3)
    process.send_signal(signal.SIGTERM)

    assert answer.output_text == "HELLO"
    assert process.wait(30) == 0
    lines = [json.loads(line) for line in (tmp_path / "requests.jsonl").read_text().splitlines()]
    assert [(line["n"], line["dialect"], line["model"]) for line in lines] == [
        (1, "responses", "m"),
        (2, "responses", "slow"),
    ]


def test_a_missing_script_ends_the_process_with_one_line(tmp_path):
    command = [sys.executable, "-m", "opspawn.testing.openai_server", "--script", str(tmp_path / "none.json")]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "none.json" in ended.stderr
