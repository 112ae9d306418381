"""An agent over real HTTP against a server that speaks the OpenAI protocol, with everything that goes wrong there.

Every rule holds in memory (`await agent.run()`) and durably (a host with a store), in both dialects, streamed.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from opspawn import Agent, App, tool
from opspawn.agentkit.kit import Kit
from opspawn.config import load_settings
from opspawn.contracts.run_events import ModelAnswered, Retrying, RunEvent, TextDelta
from opspawn.contracts.store import Task, TaskState
from opspawn.errors import ModelError
from opspawn.host import Host
from opspawn.plugins import Plugins
from opspawn.testing.openai_server import BreakStream, CallTools, Fail, Malformed, OpenAIServer, Say, Step

QUESTION = "How do I reset a token?"
ANSWER = "Open the settings, then press reset."
T = TypeVar("T")
KEY = "sk-test-0123456789abcdef"
SEARCH = CallTools([("search", {"query": "token"})])


@dataclass
class Ended:
    """How a run ended and what it told on the way; `attempt` counts failures of the task, in memory there are none."""

    output: Any = None
    error: str = ""
    error_type: str = ""
    attempt: int = 0
    events: list[RunEvent] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What streamed."""
        return "".join(event.text for event in self.of(TextDelta))

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]


Run = Callable[[str], Awaitable[Ended]]


class Desk:
    """An agent with two tools, and what the tools were called with."""

    def __init__(self) -> None:
        self.calls: list[str] = []

        @tool(effect="read")
        async def search(query: str, limit: int = 3) -> list[str]:
            """Search the handbook."""
            self.calls.append(f"search {query} {limit}")
            return [f"About {query}."]

        @tool(effect="idempotent")
        async def note(text: str) -> str:
            """Write a note."""
            self.calls.append(f"note {text}")
            return "noted"

        self.agent = Agent("helper", model="openai:scripted", tools=[search, note], instructions="Search first.")


class Script:
    """The steps of a server, and when each request came."""

    def __init__(self, *steps: Step) -> None:
        self._steps = steps
        self.requests: list[dict[str, Any]] = []
        self.times: list[float] = []

    def __call__(self, request: dict[str, Any]) -> Step:
        self.times.append(time.monotonic())
        self.requests.append(request)
        return self._steps[len(self.requests) - 1] if len(self.requests) <= len(self._steps) else Fail(400)

    def told(self, request: int) -> str:
        """The last message of a request: what the model learned there."""
        return str(self.requests[request]["messages"][-1]["content"])


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture(params=["chat", "responses"])
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["memory", "durable"])
def run(request: pytest.FixtureRequest, desk: Desk, dialect: str, tmp_path: Path) -> Run:
    """Run the agent on the question, in one of both ways."""
    how = in_memory if request.param == "memory" else durably

    async def run_at(base_url: str) -> Ended:
        sections = {"openai": {"base_url": base_url, "dialect": dialect, "api_key": KEY}}
        return await how(desk.agent, sections, tmp_path)

    return run_at


async def in_memory(agent: Agent, sections: dict[str, dict[str, Any]], folder: Path) -> Ended:
    kit = Kit(Plugins.load(), sections=sections)
    ended = Ended()

    try:
        ended.output = (await agent.run(QUESTION, kit=kit, on_event=ended.events.append)).output
    except ModelError as error:
        ended.error, ended.error_type = str(error), error.error_type
    finally:
        await kit.aclose()
    return ended


async def durably(agent: Agent, sections: dict[str, dict[str, Any]], folder: Path) -> Ended:
    loaded = load_settings(environ={})
    async with Host.open(App(agents=[agent]), loaded=loaded, data=folder / "data", sections=sections) as host:
        ended, begun = Ended(), list[Task]()

        async def begin() -> Task:
            begun.append(await host.submit("agent/helper", QUESTION))
            return begun[0]

        async with asyncio.timeout(50):  # it is listened to first, or the words of a quick run are missed
            ended.events = [event async for event in host.stream("", begin=begin)]
        task = await host.task(begun[0].id)
        assert task.state in (TaskState.SUCCEEDED, TaskState.FAILED), task
    error = task.error or {}
    ended.output, ended.attempt = task.result, task.attempt
    ended.error, ended.error_type = error.get("message", ""), error.get("type", "")
    return ended


async def test_tools_are_called_and_the_answer_streams(desk: Desk, run: Run) -> None:
    script = Script(CallTools([("search", {"query": "token"}), ("note", {"text": "asked"})]), Say(ANSWER))
    async with OpenAIServer(script) as server:
        ended = await run(server.base_url)

    assert (ended.output, ended.text) == (ANSWER, ANSWER)
    assert sorted(desk.calls) == ["note asked", "search token 3"]
    assert [message["content"] for message in script.requests[1]["messages"][-2:]] == ['["About token."]', "noted"]
    assert all(request["stream"] for request in script.requests)
    assert [tool["name"] for tool in script.requests[0]["tools"]] == ["search", "note"]


async def test_a_429_is_asked_again_no_sooner_than_it_says_and_uses_no_attempt(desk: Desk, run: Run) -> None:
    script = Script(SEARCH, Fail(429, retry_after=1.3), Say(ANSWER))
    async with OpenAIServer(script) as server:
        ended = await run(server.base_url)

    assert (ended.output, ended.attempt, desk.calls) == (ANSWER, 0, ["search token 3"])
    assert 1.25 <= script.times[2] - script.times[1] < 10
    assert [told.error.type for told in ended.of(Retrying)] == ["rate_limited"]


async def test_many_429s_in_a_row_are_waited_for_though_a_failing_server_would_have_been_given_up(
    desk: Desk, run: Run
) -> None:
    """Being told to come back is no failure: more of it than the tries that a call has does not end the run."""
    script = Script(*[Fail(429, retry_after=0.05)] * 6, Say(ANSWER))
    async with OpenAIServer(script) as server:
        ended = await run(server.base_url)

    assert (ended.output, ended.attempt, len(script.requests)) == (ANSWER, 0, 7)


async def test_a_500_is_tried_again(desk: Desk, run: Run) -> None:
    script = Script(SEARCH, Fail(500), Say(ANSWER))
    async with OpenAIServer(script) as server:
        ended = await run(server.base_url)

    assert (ended.output, ended.attempt, desk.calls) == (ANSWER, 0, ["search token 3"])
    assert script.requests[1]["messages"] == script.requests[2]["messages"]
    assert [told.error.type for told in ended.of(Retrying)] == ["transient"]


@pytest.mark.parametrize("clean", [False, True], ids=["cut", "without-its-end"])
async def test_a_broken_stream_is_tried_again_and_half_an_answer_never_counts(
    desk: Desk, run: Run, clean: bool
) -> None:
    script = Script(BreakStream(2, Say("Throw it away."), clean=clean), Say(ANSWER))
    async with OpenAIServer(script) as server:
        ended = await run(server.base_url)

    assert (ended.output, ended.attempt) == (ANSWER, 0)
    assert [done.text for done in ended.of(ModelAnswered)] == [ANSWER]
    assert ended.text.endswith(ANSWER)


async def test_a_tool_call_whose_stream_broke_is_not_carried_out(desk: Desk, run: Run) -> None:
    half = CallTools([("note", {"text": "one two three four"})])
    script = Script(BreakStream(2, half), SEARCH, Say(ANSWER))
    async with OpenAIServer(script) as server:
        ended = await run(server.base_url)

    assert (ended.output, desk.calls) == (ANSWER, ["search token 3"])


@pytest.mark.parametrize("raw", ['{"query": "tok', '["token"]', "token"], ids=["cut", "list", "word"])
async def test_a_malformed_tool_call_is_told_to_the_model_which_mends_it(desk: Desk, run: Run, raw: str) -> None:
    script = Script(Malformed("search", raw), SEARCH, Say(ANSWER))
    async with OpenAIServer(script) as server:
        ended = await run(server.base_url)

    assert (ended.output, ended.attempt, desk.calls) == (ANSWER, 0, ["search token 3"])
    assert script.told(1) == f"Error: The arguments were not a JSON object: {raw!r}. Send them again as JSON."


async def test_wrong_arguments_are_told_to_the_model_which_mends_them(desk: Desk, run: Run) -> None:
    wrong = CallTools([("search", {"query": "token", "limit": "many"})])
    script = Script(wrong, SEARCH, Say(ANSWER))
    async with OpenAIServer(script) as server:
        ended = await run(server.base_url)

    assert (ended.output, desk.calls) == (ANSWER, ["search token 3"])
    assert script.told(1).startswith("Error: ")
    assert "limit" in script.told(1)


async def test_an_unknown_tool_is_told_to_the_model_with_those_there_are(desk: Desk, run: Run) -> None:
    script = Script(CallTools([("serch", {"query": "token"})]), SEARCH, Say(ANSWER))
    async with OpenAIServer(script) as server:
        ended = await run(server.base_url)

    assert (ended.output, desk.calls) == (ANSWER, ["search token 3"])
    assert script.told(1) == "Error: There is no tool 'serch'. Did you mean 'search'? Tools: search, note."


async def test_a_refused_key_ends_the_run_at_once_and_names_the_setting_but_not_the_key(desk: Desk, run: Run) -> None:
    echo = {"error": {"message": f"Incorrect API key provided: {KEY}.", "type": "invalid_request_error"}}
    script = Script(Fail(401, body=echo), Say(ANSWER))
    async with OpenAIServer(script) as server:
        ended = await run(server.base_url)

    assert (ended.output, ended.error_type, len(script.requests)) == (None, "denied", 1)
    assert "OPENAI_API_KEY" in ended.error
    assert "\n" not in ended.error
    assert KEY not in ended.error + str(ended.events)


@pytest.mark.parametrize("dialect", ["chat"], indirect=True)
async def test_a_server_that_is_down_is_tried_a_few_times_and_then_named_with_the_remedy(desk: Desk, run: Run) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    ended = await run(f"http://127.0.0.1:{port}/v1")

    assert (ended.output, ended.error_type) == (None, "transient")
    assert ended.error.startswith(f"The model server at http://127.0.0.1:{port}/v1 cannot be reached")
    assert ended.error.endswith("Is the server running, and base_url right?")
    assert "\n" not in ended.error
    assert len(ended.of(Retrying)) == 3


@pytest.mark.parametrize("dialect", ["chat"], indirect=True)
async def test_a_server_that_comes_up_meanwhile_is_used(desk: Desk, run: Run) -> None:
    """A model server that starts a moment after the run costs patience, not the run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = asyncio.create_task(run(f"http://127.0.0.1:{port}/v1"))
    await asyncio.sleep(0.3)

    async with OpenAIServer(Script(Say(ANSWER)), port=port):
        ended = await running

    assert (ended.output, ended.attempt) == (ANSWER, 0)


@pytest.mark.parametrize("dialect", ["chat"], indirect=True)
async def test_a_server_that_keeps_failing_ends_the_run_with_its_last_words(desk: Desk, run: Run) -> None:
    script = Script(SEARCH, *[Fail(503, body={"error": {"message": "Overloaded."}})] * 9)
    async with OpenAIServer(script) as server:
        ended = await run(server.base_url)

    assert (ended.output, ended.error_type, len(script.requests)) == (None, "transient", 5)
    assert "Overloaded." in ended.error
    assert desk.calls == ["search token 3"]
