"""What a scripted model server does with one request: the steps, and how a script file is read."""

from __future__ import annotations

import json
import runpy
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from opspawn.contracts.model import FinishReason, Usage


@dataclass(frozen=True, slots=True)
class Say:
    """Answer with text.

    Args:
        text: the answer; streamed word by word.
        reasoning: thoughts before the answer; both dialects stream them as servers do.
        finish: why the model stopped; `length` and `content_filter` end an answer early.
        usage: the figures to report; None counts words instead, the same for the same request.
        omit_usage: leave the figures out, as several local servers do.
        latency_s: seconds before the first byte.
    """

    text: str
    reasoning: str = ""
    finish: FinishReason = "stop"
    usage: Usage | None = None
    omit_usage: bool = False
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CallTools:
    """Answer with tool calls, given as (name, arguments), all in one answer. `ids=False` leaves their ids out."""

    calls: Sequence[tuple[str, Mapping[str, Any]]]
    text: str = ""
    reasoning: str = ""
    ids: bool = True
    usage: Usage | None = None
    omit_usage: bool = False
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Malformed:
    """Call a tool with `raw` as the text of its arguments, whatever that is."""

    tool: str
    raw: str
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Fail:
    """Answer with an HTTP error.

    Args:
        status: the HTTP status, 400 to 599.
        retry_after: value of the `Retry-After` header: seconds, or an HTTP date.
        body: the JSON body, or the text of one that is not JSON; None for an error as OpenAI words it.
        headers: further headers.
        latency_s: seconds before the first byte.
    """

    status: int
    retry_after: float | str | None = None
    body: Mapping[str, Any] | str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class BreakStream:
    """Begin `answer`, then break off after so many pieces of it (text, reasoning or arguments).

    The connection is cut; with `clean=True` the body ends in good order and only the protocol's end is missing; with
    `error` the stream tells that error, by its HTTP status, and ends. An answer that is not streamed is cut in the
    middle of its body, or fails with that status.
    """

    after_n_chunks: int = 1
    answer: Say | CallTools = field(default_factory=lambda: Say("This answer never reaches its end."))
    clean: bool = False
    error: int | None = None
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Hang:
    """Say nothing for so many seconds, then answer. In a stream the silence begins after `after_n_chunks` pieces."""

    seconds: float
    after_n_chunks: int = 0
    answer: Say | CallTools = field(default_factory=lambda: Say("Sorry for the delay."))
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Garbage:
    """Answer with status 200 and this text, which is none of the protocol; in a stream it is the whole stream."""

    text: str = "<html>Welcome to nginx!</html>"
    latency_s: float = 0.0


Step = Say | CallTools | Malformed | Fail | BreakStream | Hang | Garbage

#: A step for each request in turn, or a function from the request to its step. The function sees a dictionary, the
#: same for every protocol: dialect ("chat", "responses" or "messages"), model, messages (role, content, images, files,
#: tool_calls, tool_call_id), tools (name, description, parameters), stream, n (1 for the first request) and body (what
#: was sent).
Script = Sequence[Step] | Callable[[dict[str, Any]], Step | Awaitable[Step]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says, before a dialect gives it a shape; `calls` are (name, text of the arguments)."""

    text: str
    reasoning: str
    calls: tuple[tuple[str, str], ...]
    finish: FinishReason
    usage: Usage | None
    omit_usage: bool = False
    ids: bool = True


def answer_of(step: Say | CallTools | Malformed) -> Answer:
    """Return what the step says."""
    if isinstance(step, Say):
        return Answer(step.text, step.reasoning, (), step.finish, step.usage, step.omit_usage)
    if isinstance(step, Malformed):
        return Answer("", "", ((step.tool, step.raw),), "tool_calls", None)
    calls = tuple((name, json.dumps(arguments, ensure_ascii=False)) for name, arguments in step.calls)
    return Answer(step.text, step.reasoning, calls, "tool_calls", step.usage, step.omit_usage, step.ids)


def step_from_json(data: Mapping[str, Any]) -> Step:
    """Return the step of one entry of a JSON script.

    One key says what happens: `{"say": "text"}`, `{"call_tools": [["name", {...}]]}`, `{"malformed": ["tool", "raw"]}`,
    `{"fail": 429}`, `{"break_stream": 2}`, `{"garbage": "<html>"}` or `{"hang": 5}`; the others are the fields of
    that step.

    Raises:
        ValueError: it is none of these, or has a field that the step lacks.
    """
    fields = dict(data)
    if isinstance(fields.get("usage"), dict):
        fields["usage"] = Usage(**fields["usage"])
    if isinstance(fields.get("answer"), dict):
        fields["answer"] = step_from_json(fields["answer"])
    for key, make in _STEPS.items():
        if key in fields:
            value = fields.pop(key)
            try:
                return make(value, fields)
            except TypeError as error:
                raise ValueError(f"step {dict(data)!r}: {error}") from None
    raise ValueError(f"step {dict(data)!r} has none of the keys {', '.join(_STEPS)}")


_STEPS: dict[str, Callable[[Any, dict[str, Any]], Step]] = {
    "say": lambda value, more: Say(value, **more),
    "call_tools": lambda value, more: CallTools([(name, arguments) for name, arguments in value], **more),
    "malformed": lambda value, more: Malformed(*value, **more),
    "fail": lambda value, more: Fail(value, **more),
    "break_stream": lambda value, more: BreakStream(value, **more),
    "garbage": lambda value, more: Garbage(value, **more),
    "hang": lambda value, more: Hang(value, **more),
}


def load_script(path: Path) -> Script:
    """Read a script: a JSON list of steps, or a Python file whose `script` is a list of steps or a function.

    Raises:
        ValueError: the file holds no script; the message names the file.
        OSError: it cannot be read.
    """
    if path.suffix == ".py":
        script = runpy.run_path(str(path)).get("script")
        if not (callable(script) or isinstance(script, (list, tuple))):
            raise ValueError(f"{path}: 'script' must be a list of steps or a function")
        return cast(Script, script)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(entries, list):
            raise ValueError("a script is a list of steps")
        return [step_from_json(entry) for entry in entries]
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: {error}") from None
