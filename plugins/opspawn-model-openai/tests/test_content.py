"""Images, files and thoughts as the servers of these protocols take them; and what a kind of server cannot do."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from opspawn.contracts.model import File, Image, Message, ModelRequest, Reasoning, ToolCall
from opspawn.errors import ModelError
from opspawn.testing.openai_server import CallTools, Say
from opspawn_model_openai.chat_answers import ChatReader, whole_answer
from opspawn_model_openai.servers import capabilities, reasons, server_at

DOT = Image(b"\x89PNG", "image/png")
FAR = Image(url="https://x.test/a.png")
PAPER = File(b"%PDF", "application/pdf", name="paper.pdf")
ASK = Message("user", "Go on.")


@pytest.fixture
def body(serve: Any, open_provider: Callable[..., Any]) -> Callable[..., Any]:
    """The body of a request of these messages, as a kind of server gets it."""

    async def made(*messages: Message, model: str = "m", **section: Any) -> Any:
        server = await serve(Say("Fine."))
        provider = open_provider(base_url=server.base_url, **section)
        await provider.complete(ModelRequest(model, messages))
        return server.requests[0]["body"]

    return made


async def test_what_tools_show_follows_all_results_of_the_answer(body):
    calls = (ToolCall("1", "look"), ToolCall("2", "look"))
    results = (Message("tool", "", tool_call_id="1", parts=(DOT,)), Message("tool", "none", tool_call_id="2"))

    sent = await body(ASK, Message("assistant", "", calls), *results, Message("user", "And?"), dialect="chat")

    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "tool", "tool", "user", "user"]
    assert sent["messages"][2]["content"] == "Shown below."
    assert [part["type"] for part in sent["messages"][4]["content"]] == ["text", "image_url"]


async def test_a_failed_tool_may_show_something_too(body):
    call = Message("assistant", "", (ToolCall("1", "look"),))
    failed = Message("tool", "too dark", tool_call_id="1", is_error=True, parts=(DOT,))

    sent = await body(ASK, call, failed, dialect="responses")

    assert sent["input"][-1]["output"][0] == {"type": "input_text", "text": "Error: too dark"}


@pytest.mark.parametrize(
    ("part", "server", "words"),
    [
        (FAR, "ollama", "fetches no images"),
        (FAR, "llama.cpp", "fetches no images"),
        (PAPER, "vllm", "takes no files of type application/pdf"),
        (File(url="https://x.test/a.pdf"), "openai", "fetches no files"),
    ],
)
async def test_what_a_kind_of_server_cannot_do_is_told_before_anything_is_sent(body, part, server, words):
    with pytest.raises(ModelError, match=f"The server '{server}' {words}") as caught:
        await body(Message("user", "Look.", parts=(part,)), dialect="chat", server=server)

    assert caught.value.error_type == "permanent"


@pytest.mark.parametrize("dialect", ["chat", "responses"])
async def test_every_server_reads_a_text_file(body, dialect):
    notes = File(b"Call Bob.", "text/markdown", name="notes.md")

    sent = await body(Message("user", "Read.", parts=(notes,)), dialect=dialect, server="ollama")

    assert "notes.md:\n\nCall Bob." in str(sent).replace("\\n", "\n")


@pytest.mark.parametrize(("model", "wanted"), [("gpt-5", True), ("o4-mini", True), ("gpt-4o", False), ("m", False)])
async def test_sealed_thoughts_are_asked_for_only_where_the_model_thinks(body, model, wanted):
    """Other models refuse the request for them."""
    sent = await body(ASK, model=model, dialect="responses", server="openai")

    assert ("include" in sent) is wanted
    assert reasons(model) is wanted


async def test_a_thought_that_nothing_followed_stays_here(body):
    cut_off = Message("assistant", "", parts=(Reasoning("Hm.", "openai", "gpt-5", {"encrypted": "x"}),))

    sent = await body(ASK, cut_off, ASK, model="gpt-5", dialect="responses", server="openai")

    assert [item["type"] for item in sent["input"]] == ["message", "message"]


async def test_thoughts_go_back_only_during_the_turn_that_they_belong_to(serve, open_provider):
    """Servers of Chat Completions refuse or drop those of earlier turns."""
    server = await serve(CallTools([("look", {})], reasoning="Hm."), Say("Done."), Say("Fine."))
    provider = open_provider(base_url=server.base_url, dialect="chat")
    first = await provider.complete(ModelRequest("m", [ASK]))
    talk = [ASK, first.message(), Message("tool", "ok", tool_call_id=first.tool_calls[0].id)]
    await provider.complete(ModelRequest("m", talk))
    await provider.complete(ModelRequest("m", [*talk, Message("assistant", "Done."), ASK]))

    said = [next(m for m in request["messages"] if m["role"] == "assistant") for request in server.requests[1:]]

    assert [message["reasoning"] for message in said] == [["Hm."], []]


def test_details_of_reasoning_are_put_together_and_the_cost_is_taken():
    """As OpenRouter sends both."""
    reader = ChatReader(ModelRequest("m", [ASK]), lambda delta: None)
    for piece in ("Let me ", "think."):
        detail = {"type": "reasoning.text", "index": 0, "text": piece}
        reader.feed({"choices": [{"delta": {"reasoning": piece, "reasoning_details": [detail]}}]})
    reader.feed(
        {"choices": [{"delta": {"reasoning_details": [{"type": "reasoning.text", "index": 0, "signature": "s"}]}}]}
    )
    reader.feed({"choices": [{"delta": {"content": "Yes."}, "finish_reason": "stop"}], "usage": {"cost": 0.00125}})

    answer = reader.finish()

    assert answer.usage.cost == Decimal("0.00125")
    details = [{"type": "reasoning.text", "index": 0, "text": "Let me think.", "signature": "s"}]
    assert answer.parts[0] == Reasoning("Let me think.", "openai", "m", {"field": "reasoning", "details": details})


@pytest.mark.parametrize("cost", ["much", -1, True, float("nan"), None])
def test_a_cost_that_is_no_price_is_not_taken(cost):
    answer = whole_answer(
        ModelRequest("m", [ASK]), {"choices": [{"message": {"content": "Hi."}}], "usage": {"cost": cost}}
    )

    assert answer.usage.cost is None


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("http://127.0.0.1:11434/v1", "ollama"),
        ("http://127.0.0.1:8000/v1", "other"),
        ("https://evil-api.openai.com.example/v1", "other"),
    ],
)
def test_the_address_tells_the_kind_of_server(url, name):
    assert server_at(url).name == name


def test_only_a_vendors_own_address_has_a_price():
    ours, openai, router = (
        capabilities(server_at(url), "chat", "gpt-5").prices
        for url in ("http://127.0.0.1:8000", "https://api.openai.com", "https://openrouter.ai")
    )

    assert (ours, openai, router) == (None, "openai", "openrouter")


async def test_openai_counts_the_tokens_of_its_own_protocol(serve, open_provider):
    server = await serve(Say("Never."))
    provider = open_provider(base_url=server.base_url, dialect="responses", server="openai")

    assert await provider.count_tokens(ModelRequest("gpt-5", [Message("user", "one two three")])) == 3
    assert provider.capabilities("gpt-5").count_tokens
