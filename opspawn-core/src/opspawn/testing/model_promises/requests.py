"""Requests: what the server understands is what was asked, whatever the protocol."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from opspawn.contracts.model import Called, File, Image, Message, Reasoning, Text, ToolCall
from opspawn.errors import ModelError
from opspawn.testing.model_promises import SEARCH, ModelSuite, needs
from opspawn.testing.model_server import CallTools, Malformed, Say

DOT = Image(bytes.fromhex("89504e470d0a1a0a") + b"dot", "image/png")
PAPER = File(b"%PDF-1.7 paper", "application/pdf", name="paper.pdf")
QUESTION = Message("user", "Go on.")
SCHEMA = {
    "type": "object",
    "properties": {"tags": {"type": "array", "items": {"type": "string"}}},
    "required": ["tags"],
    "additionalProperties": False,
}


@pytest.mark.asyncio
class RequestPromises(ModelSuite):
    """What reaches the server."""

    async def test_a_conversation_arrives_in_order(self) -> None:
        """With the system's words first, each turn as its own role."""
        server = await self.serve(Say("Fine."))
        provider = self.opened(server.base_url)
        talk = [Message("system", "Be brief."), Message("user", "a"), Message("assistant", "b"), Message("user", "c")]
        await self.ask(provider, *talk)
        assert [(m["role"], m["content"]) for m in server.requests[0]["messages"]] == [
            ("system", "Be brief."),
            ("user", "a"),
            ("assistant", "b"),
            ("user", "c"),
        ]
        assert server.requests[0]["model"] == self.model

    async def test_tools_arrive_as_they_are_described(self) -> None:
        """Name, description and the schema, optional arguments included."""
        server = await self.serve(Say("Fine."))
        await self.ask(self.opened(server.base_url), tools=[SEARCH])
        (tool,) = server.requests[0]["tools"]
        assert tool == {"name": SEARCH.name, "description": SEARCH.description, "parameters": SEARCH.parameters}

    async def test_results_go_back_to_the_calls_that_asked(self, streamed: bool) -> None:
        """All of one answer's results are taken by the server, in order, and a failure is told as one."""
        server = await self.serve(
            CallTools([("search", {"query": "a"}), ("search", {"query": "b"})], text="Looking."), Say("Done.")
        )
        provider = self.opened(server.base_url)
        first = (await self.ask(provider, QUESTION, tools=[SEARCH], streamed=streamed)).answer
        one, two = first.tool_calls
        results = (
            Message("tool", "found", tool_call_id=one.id),
            Message("tool", "no such index", tool_call_id=two.id, is_error=True),
        )
        talk = (QUESTION, first.message(), *results)
        second = (await self.ask(provider, *talk, tools=[SEARCH], streamed=streamed)).answer
        assert second.text == "Done."
        _, said, found, failed = server.requests[1]["messages"]
        assert said["content"] == "Looking."
        assert [json.loads(call["arguments"]) for call in said["tool_calls"]] == [{"query": "a"}, {"query": "b"}]
        assert found["content"] == "found"
        assert failed.get("is_error") or failed["content"] == "Error: no such index"

    async def test_a_malformed_call_does_not_break_the_conversation(self) -> None:
        """It goes back in a shape that the server takes, with the words that say what was wrong."""
        server = await self.serve(Malformed("search", "{oops"), Say("Sorry."))
        provider = self.opened(server.base_url)
        first = (await self.ask(provider, QUESTION, tools=[SEARCH])).answer
        refusal = Message("tool", "not a JSON object", tool_call_id=first.tool_calls[0].id, is_error=True)
        assert (await self.ask(provider, QUESTION, first.message(), refusal, tools=[SEARCH])).answer.text == "Sorry."

    async def test_empty_and_blank_messages_are_no_error(self) -> None:
        """Planners make them, and vendors refuse them in different ways."""
        server = await self.serve(Say("Fine."))
        talk = (Message("user", "a"), Message("assistant", ""), Message("assistant", " \n"), Message("user", "b"))
        assert (await self.ask(self.opened(server.base_url), *talk)).answer.text == "Fine."

    async def test_an_empty_result_is_a_result(self) -> None:
        """A tool may have nothing to say."""
        server = await self.serve(CallTools([("search", {"query": "a"})]), Say("Fine."))
        provider = self.opened(server.base_url)
        first = (await self.ask(provider, QUESTION, tools=[SEARCH])).answer
        result = Message("tool", "", tool_call_id=first.tool_calls[0].id)
        assert (await self.ask(provider, QUESTION, first.message(), result, tools=[SEARCH])).answer.text == "Fine."

    @needs("images")
    async def test_images_are_shown_among_the_words(self) -> None:
        """By their bytes, and by their address."""
        server = await self.serve(Say("A dot."))
        shown = Message("user", parts=(Text("Is "), DOT, Text("the same as "), Image(url="https://x.test/a.png")))
        await self.ask(self.opened(server.base_url), shown)
        (message,) = server.requests[0]["messages"]
        assert (message["content"], message["images"]) == ("Is the same as ", 2)

    @needs("files")
    async def test_a_document_is_shown(self) -> None:
        """A PDF as a file; a text file at least by its words."""
        server = await self.serve(Say("Read."))
        notes = File(b"Call Bob.", "text/plain", name="notes.txt")
        await self.ask(self.opened(server.base_url), Message("user", "Read these.", parts=(PAPER, notes)))
        (message,) = server.requests[0]["messages"]
        assert message["files"] == 2 or (message["files"] == 1 and "Call Bob." in message["content"])

    @needs("tool_images")
    async def test_what_a_tool_shows_is_seen(self) -> None:
        """In the result itself, or right after the results of that answer."""
        server = await self.serve(CallTools([("search", {"query": "a"}), ("search", {"query": "b"})]), Say("I see."))
        provider = self.opened(server.base_url)
        first = (await self.ask(provider, QUESTION, tools=[SEARCH])).answer
        one, two = (call.id for call in first.tool_calls)
        results = (Message("tool", "Here:", tool_call_id=one, parts=(DOT,)), Message("tool", "none", tool_call_id=two))
        await self.ask(provider, QUESTION, first.message(), *results, tools=[SEARCH])
        _, _, *after = server.requests[1]["messages"]
        assert sum(message["images"] for message in after) == 1
        assert [message["content"] for message in after[:2]] == ["Here:", "none"]

    @needs("reasoning")
    async def test_thoughts_go_back_unchanged_while_tools_are_called(self, streamed: bool) -> None:
        """Vendors sign or seal them, and refuse what was altered."""
        server = await self.serve(CallTools([("search", {"query": "a"})], reasoning="Look it up first."), Say("Done."))
        provider = self.opened(server.base_url)
        first = (await self.ask(provider, QUESTION, tools=[SEARCH], streamed=streamed)).answer
        result = Message("tool", "found", tool_call_id=first.tool_calls[0].id)
        await self.ask(provider, QUESTION, first.message(), result, tools=[SEARCH])
        assert server.requests[1]["messages"][1]["reasoning"] == ["Look it up first."]

    async def test_another_models_thoughts_and_ids_do_no_harm(self) -> None:
        """A conversation may begin with one vendor and go on with another: the words and calls are kept, no more."""
        server = await self.serve(Say("Done."))
        call = ToolCall("other|vendor:call/1", "search", {"query": "a"})
        thought = Reasoning("Hm.", "another-vendor", "m-1", {"seal": "x"})
        parts = (thought, Text("Looking."), Called(call.id))
        said = Message("assistant", "Looking.", (call,), parts=parts, source="another-vendor:m-1")
        result = Message("tool", "found", tool_call_id=call.id)
        await self.ask(self.opened(server.base_url), QUESTION, said, result, tools=[SEARCH])
        _, said_there, found = server.requests[0]["messages"]
        assert (said_there["content"], said_there["reasoning"]) == ("Looking.", [])
        assert found["tool_call_id"] == said_there["tool_calls"][0]["id"]

    @needs("reasoning")
    async def test_thoughts_of_another_model_of_the_same_vendor_stay_here(self) -> None:
        """A seal holds for the model that made it."""
        server = await self.serve(CallTools([("search", {"query": "a"})], reasoning="Hm."), Say("Done."))
        provider = self.opened(server.base_url)
        first = (await self.ask(provider, QUESTION, tools=[SEARCH])).answer
        parts = tuple(replace(p, model="older") if isinstance(p, Reasoning) else p for p in first.parts)
        result = Message("tool", "found", tool_call_id=first.tool_calls[0].id)
        await self.ask(provider, QUESTION, replace(first.message(), parts=parts), result, tools=[SEARCH])
        assert server.requests[1]["messages"][1]["reasoning"] == []

    @needs("output_schema")
    async def test_an_answer_is_held_to_a_schema(self, streamed: bool) -> None:
        """By whatever means the vendor has; the text is the JSON."""
        server = await self.serve(Say('{"tags": ["a"]}'))
        asked = await self.ask(self.opened(server.base_url), output_schema=SCHEMA, streamed=streamed)
        assert json.loads(asked.answer.text) == {"tags": ["a"]}
        assert json.dumps(SCHEMA["properties"]) in json.dumps(server.requests[0]["body"])

    async def test_common_settings_have_one_name(self) -> None:
        """`max_tokens`, `tool_choice` and `parallel_tool_calls` mean the same, whoever is asked."""
        server = await self.serve(Say("Fine."))
        settings = {"max_tokens": 99, "tool_choice": "search", "parallel_tool_calls": False}
        await self.ask(self.opened(server.base_url), tools=[SEARCH], settings=settings)
        body = server.requests[0]["body"]
        assert 99 in body.values()
        assert "search" in json.dumps(body["tool_choice"])

    @pytest.mark.parametrize("name", ["model", "messages", "tools", "stream"])
    async def test_a_setting_that_the_provider_decides_is_refused(self, name: str) -> None:
        """Before anything is sent."""
        server = await self.serve(Say("Never."))
        with pytest.raises(ModelError, match=f"'{name}' cannot be a model setting") as caught:
            await self.ask(self.opened(server.base_url), settings={name: "x"})
        assert (caught.value.error_type, server.requests) == ("permanent", [])

    async def test_one_connection_serves_one_call_after_the_other(self) -> None:
        """And many at once do not disturb each other."""
        server = await self.serve(lambda request: Say(f"You said {request['messages'][-1]['content']}."))
        provider = self.opened(server.base_url)
        for word in ("a", "b", "c"):
            assert (await self.ask(provider, Message("user", word))).answer.text == f"You said {word}."
        assert server.connections == 1
        asked = await asyncio.gather(
            *(self.ask(provider, Message("user", str(n)), streamed=bool(n % 2)) for n in range(8))
        )
        assert [one.answer.text for one in asked] == [f"You said {n}." for n in range(8)]
