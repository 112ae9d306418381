"""What happened in runs, kept for a test to look at, with an assertion for each kind of event."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from opspawn.agentkit import Agent
from opspawn.contracts import run_events as told
from opspawn.contracts.events import Event, TaskDelta
from opspawn.contracts.model import Usage
from opspawn.contracts.run_events import RunEvent
from opspawn.host import Host
from opspawn.ops.streaming import stream_of

T = TypeVar("T")


@dataclass(frozen=True)
class CapturedCall:
    """A tool call from its begin to its end; `ended` is None while it runs."""

    tool: str
    arguments: dict[str, Any] | None
    ended: told.ToolCallEnded | None

    @property
    def result(self) -> Any:
        """What the tool returned; None on error, and before the end."""
        return None if self.ended is None else self.ended.result


class Events(Sequence[RunEvent]):
    """Events in the order in which they came. Assertions raise AssertionError with what happened instead."""

    def __init__(self, events: Sequence[RunEvent] = ()) -> None:
        self._events = list(events)

    def add(self, event: RunEvent) -> None:
        """Add an event."""
        self._events.append(event)

    def __len__(self) -> int:
        return len(self._events)

    def __getitem__(self, place: Any) -> Any:
        return self._events[place]

    def __iter__(self) -> Iterator[RunEvent]:
        return iter(self._events)

    def __repr__(self) -> str:
        return f"Events({', '.join(event.type for event in self._events)})"

    # -- looking -------------------------------------------------------------------------------------------------------

    def of(self, kind: type[T]) -> list[T]:
        """The events of a type."""
        return [event for event in self._events if isinstance(event, kind)]

    def tool_calls(self, tool: str | None = None) -> list[CapturedCall]:
        """The calls of a tool, or of all, in the order in which they began."""
        calls: list[CapturedCall] = []
        ends = self.of(told.ToolCallEnded)
        for began in self.of(told.ToolCallStarted):
            end = next((one for one in ends if (one.run, one.call) == (began.run, began.call)), None)
            if end is not None:
                ends.remove(end)
            calls.append(CapturedCall(began.tool, None if began.arguments is None else dict(began.arguments), end))
        return [call for call in calls if tool in (None, call.tool)]

    @property
    def text(self) -> str:
        """What streamed as the answer, joined."""
        return "".join(event.text for event in self.of(told.TextDelta))

    @property
    def output(self) -> Any:
        """The answer of the last run that ended well; None if there is none."""
        ends = self.of(told.RunEnded)
        return ends[-1].output if ends else None

    @property
    def usage(self) -> Usage:
        """Of all model calls."""
        return sum((event.usage for event in self.of(told.ModelAnswered)), Usage())

    # -- asserting -----------------------------------------------------------------------------------------------------

    def assert_called(self, tool: str, *, times: int | None = None, **arguments: Any) -> list[CapturedCall]:
        """A tool was called, at least with these arguments; `times` says how often. Returns the calls."""
        calls = self.tool_calls(tool)
        fit = [call for call in calls if arguments.items() <= (call.arguments or {}).items()]
        wanted = f"{tool}({_shown(arguments)})"
        if times is None and not fit:
            raise AssertionError(f"{wanted} was not called. Calls: {self._called()}.")
        if times is not None and len(fit) != times:
            raise AssertionError(f"{wanted} was called {len(fit)} times, not {times}. Calls: {self._called()}.")
        return fit

    def assert_not_called(self, tool: str) -> None:
        """A tool was never called."""
        if calls := self.tool_calls(tool):
            raise AssertionError(f"{tool} was called {len(calls)} times: {self._called()}.")

    def assert_no_calls(self) -> None:
        """No tool was called at all."""
        if self.tool_calls():
            raise AssertionError(f"Tools were called: {self._called()}.")

    def assert_called_in_order(self, *tools: str) -> None:
        """These tools were called in this order, whatever was called between."""
        rest = iter(call.tool for call in self.tool_calls())
        for tool in tools:
            if tool not in rest:
                raise AssertionError(f"{tool} was not called in the order {', '.join(tools)}. Calls: {self._called()}.")

    def assert_tool_failed(self, tool: str, match: str = "") -> None:
        """A call of a tool failed, was refused or denied, with words that the pattern finds."""
        ends = [call.ended for call in self.tool_calls(tool) if call.ended is not None and call.ended.is_error]
        if not any(re.search(match, end.content) for end in ends):
            said = "; ".join(end.content for end in ends) or "no call of it failed"
            raise AssertionError(f"{tool} did not fail with {match!r}: {said}.")

    def assert_answered(self, output: Any = ..., *, contains: str = "", reason: str | None = None) -> None:
        """A run ended well: with this output, or one whose text contains a text; and for this reason."""
        ends = self.of(told.RunEnded)
        if not ends:
            raise AssertionError(f"No run answered. {self._how_it_ended()}")
        last = ends[-1]
        if output is not ... and last.output != output:
            raise AssertionError(f"The answer is {last.output!r}, not {output!r}.")
        if contains not in str(last.output):
            raise AssertionError(f"The answer {last.output!r} does not contain {contains!r}.")
        if reason is not None and last.reason != reason:
            raise AssertionError(f"It ended for the reason {last.reason!r}, not {reason!r}.")

    def assert_failed(self, match: str = "", *, error_type: str | None = None) -> None:
        """A run failed, with a message that the pattern finds, and an error of this type."""
        ends = self.of(told.RunFailed)
        if not ends:
            raise AssertionError(f"No run failed. {self._how_it_ended()}")
        error = ends[-1].error
        if not re.search(match, error.message) or error_type not in (None, error.type):
            raise AssertionError(f"It failed with {error.type!r}: {error.message}")

    def assert_asked(self, match: str = "") -> None:
        """A question or an approval was asked, in words that the pattern finds."""
        texts = [event.text for event in self.of(told.QuestionAsked)] + [e.text for e in self.of(told.ApprovalAsked)]
        if not any(re.search(match, text) for text in texts):
            raise AssertionError(f"Nothing was asked like {match!r}. Asked: {texts or 'nothing'}.")

    def assert_approved(self, name: str | None = None) -> None:
        """Somebody approved a call, of this tool."""
        self._assert_decided("approve", name)

    def assert_denied(self, name: str | None = None) -> None:
        """A policy, or whoever it asked, denied a call, of this tool."""
        if not any(name in (None, event.name) for event in self.of(told.ActDenied)):
            raise AssertionError(f"Nothing was denied, of {name or 'any tool'}.")

    def assert_guarded(self, guardrail: str, decision: str = "held_back", *, on: str | None = None) -> None:
        """A guardrail decided so: "passed", "changed" or "held_back"; on the "input", the "output" or a "result"."""
        there = [(one.decision, one.on) for one in self.of(told.GuardrailDecided) if one.guardrail == guardrail]
        if not any(decision == said and on in (None, what) for said, what in there):
            raise AssertionError(f"{guardrail!r} has not {decision} {on or 'anything'}. It said: {there or 'nothing'}.")

    def assert_handed_over(self, to: str) -> None:
        """The conversation was handed over to this agent."""
        there = [event.to for event in self.of(told.Handoff)]
        if to not in there:
            raise AssertionError(f"Nobody handed over to {to!r}. Handed over to: {there or 'nobody'}.")

    def assert_delegated(self, agent: str) -> None:
        """This agent was asked by another."""
        there = [event.handler.removeprefix("agent/") for event in self.of(told.SubAgentStarted)]
        if agent not in there:
            raise AssertionError(f"{agent!r} was not asked. Asked were: {there or 'nobody'}.")

    def assert_planned(self, *steps: str) -> None:
        """A plan was made, with at least these steps by their ids, in the last one."""
        plans = self.of(told.PlanMade) + self.of(told.PlanChanged)
        if not plans:
            raise AssertionError("No plan was made.")
        there = [step.get("id") for step in (plans[-1].plan or {}).get("steps", ())]
        if missing := [step for step in steps if step not in there]:
            raise AssertionError(f"The plan has no {', '.join(missing)}. Its steps: {there}.")

    def assert_emitted(self, name: str, **data: Any) -> None:
        """The run told an event of its own with `ctx.emit`, at least with this data."""
        there = [(event.name, dict(event.data)) for event in self.of(told.Custom)]
        if not any(one == name and data.items() <= found.items() for one, found in there):
            raise AssertionError(f"{name} with {data} was not emitted. Emitted: {there or 'nothing'}.")

    def assert_retried(self, times: int | None = None) -> None:
        """Something was tried again; `times` says how often."""
        retries = len(self.of(told.Retrying))
        if (times is None and not retries) or times not in (None, retries):
            raise AssertionError(f"{retries} tries were repeated, not {'any' if times is None else times}.")

    def assert_used_at_most(self, *, requests: int | None = None, tokens: int | None = None) -> None:
        """The model calls were no more, and used no more tokens, in and out together."""
        used = self.usage
        both = used.input_tokens + used.output_tokens
        if requests is not None and used.requests > requests:
            raise AssertionError(f"{used.requests} model calls were made, more than {requests}.")
        if tokens is not None and both > tokens:
            raise AssertionError(f"{both} tokens were used, more than {tokens}.")

    def _assert_decided(self, decision: str, name: str | None) -> None:
        asked = {event.question: event.name for event in self.of(told.ApprovalAsked)}
        decided = [e.question for e in self.of(told.ApprovalDecided) if e.decision == decision]
        if not any(name in (None, asked.get(question)) for question in decided):
            raise AssertionError(f"Nobody decided {decision!r} about {name or 'any call'}.")

    def _called(self) -> str:
        return ", ".join(f"{call.tool}({_shown(call.arguments or {})})" for call in self.tool_calls()) or "none"

    def _how_it_ended(self) -> str:
        if failed := self.of(told.RunFailed):
            return f"It failed: {failed[-1].error.message}"
        return f"Events: {', '.join(event.type for event in self._events) or 'none'}."


@contextmanager
def capture_events(agent: Agent[Any, Any]) -> Iterator[Events]:
    """Keep what happens in the runs of an agent in memory that begin within the block.

    ```python
    with capture_events(helper) as events:
        await helper.run("How do I reset a token?")
    events.assert_called("search", word="token")
    ```
    """
    events = Events()
    with agent.listening(events.add):
        yield events


async def events_of(host: Host, task: str) -> Events:
    """What has happened so far in a durable run, by its task's id; pieces of answers are not kept. Raises: NotFound."""
    return Events([event async for event in stream_of(host.store, _nothing, partial(host.task, task))])


async def _nothing(after: int) -> AsyncGenerator[Event | TaskDelta, None]:
    events: Sequence[Event] = ()
    for event in events:
        yield event


def _shown(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())
