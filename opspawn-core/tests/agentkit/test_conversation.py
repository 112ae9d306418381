"""A run goes on with what was said before."""

from __future__ import annotations

import pytest

from opspawn.agentkit import Conversation, tool
from opspawn.contracts.content import Image
from opspawn.contracts.model import Message, ToolCall
from opspawn.errors import InvalidInput, OpspawnError
from opspawn.testing import ScriptedModel


@tool(effect="read")
async def look(word: str) -> str:
    """Look."""
    return word.upper()


async def test_the_messages_of_one_run_are_the_history_of_the_next(agent):
    model = ScriptedModel([ToolCall("1", "look", {"word": "a"}), "It is A.", "As I said: A."])
    helper = agent("helper", model, tools=[look], instructions="Be brief.")

    first = await helper.run("What?")
    second = await helper.run("Again?", history=first.messages)

    assert [message.role for message in first.messages] == ["user", "assistant", "tool", "assistant"]
    assert second.new_messages == (Message("user", "Again?"), Message("assistant", "As I said: A."))
    assert second.messages == first.messages + second.new_messages
    assert model.requests[2].messages == (Message("system", "Be brief."), *first.messages, Message("user", "Again?"))


async def test_a_conversation_keeps_what_was_said_between_runs(agent):
    model = ScriptedModel(["Hello Ada.", "You are Ada."])
    helper, talk = agent("helper", model), Conversation()

    await helper.run("I am Ada.", session=talk)
    await helper.run("Who am I?", session=talk)

    assert [message.content for message in talk.messages] == ["I am Ada.", "Hello Ada.", "Who am I?", "You are Ada."]
    assert model.requests[1].messages == talk.messages[:3]


async def test_a_run_that_fails_leaves_the_conversation_as_it_was(agent):
    talk = Conversation([Message("user", "Hi."), Message("assistant", "Hi.")])

    with pytest.raises(OpspawnError, match="down"):
        await agent("helper", ScriptedModel([ValueError("down")])).run("?", session=talk)

    assert len(talk.messages) == 2


async def test_a_conversation_is_saved_and_read_with_images_and_calls(agent, tmp_path):
    model = ScriptedModel([ToolCall("1", "look", {"word": "a"}), "A cat."])
    talk = Conversation()
    await agent("helper", model, tools=[look]).run(["What is this?", Image(b"png", "image/png")], session=talk)

    talk.save(tmp_path / "talk.json")
    again = Conversation.read(tmp_path / "talk.json")

    assert (again.id, again.messages) == (talk.id, talk.messages)


def test_a_file_that_holds_no_conversation_is_refused(tmp_path):
    (tmp_path / "talk.json").write_text('{"id": "x", "messages": [{"role": "boss"}]}')

    with pytest.raises(InvalidInput, match="holds no conversation"):
        Conversation.read(tmp_path / "talk.json")


async def test_history_and_session_exclude_one_another(agent):
    with pytest.raises(InvalidInput, match="either history or session"):
        await agent("helper", ScriptedModel([])).run("?", history=[Message("user", "a")], session=Conversation())
