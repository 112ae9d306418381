"""Tells a run in the terminal: the answer as it comes, thoughts dimmed, a line for each tool and its result."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from opspawn.cli.screen import Screen, one_line
from opspawn.contracts import run_events as told
from opspawn.contracts.model import Usage
from opspawn.contracts.run_events import RunEvent

_MOST = 10_000
#: Between two lines on how far one call is, in seconds.
_PAUSE_S = 1.0


class Narrator:
    """Shows the events of one run. `usage` is that of the run, once it has ended."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._depth: dict[str, int] = {}
        self._plan: list[tuple[str, str]] = []
        self._ticked: set[str] = set()
        self._streamed = ""
        self._answer = ""
        self._told: dict[str, float] = {}
        self.usage = Usage()

    def printed(self, result: Any) -> bool:
        """Whether the result stands on the terminal already, because it was streamed."""
        return isinstance(result, str) and bool(self._answer) and self._answer.strip() == result.strip()

    def show(self, event: RunEvent) -> None:
        """Show an event."""
        match event:
            case told.TextDelta():
                if self._screen.streams:
                    self._streamed += event.text
                    self._screen.text(event.text)
            case told.ReasoningDelta():
                self._screen.thought(event.text)
            case told.DeltasVoid():
                self._screen.end_line()  # what stands there is void; the next try begins on a line of its own
                self._streamed = ""
            case told.ModelAnswered():
                self._answered(event)
            case told.ToolCallStarted():
                arguments = "…" if event.arguments is None else brief(event.arguments)
                self._line(event, ("→ ", "cyan"), (f"{event.tool}", "bold"), (f"({arguments})", "dim"))
            case told.ToolCallEnded():
                self._ended(event)
            case told.StepEnded():
                self._step(event)
            case told.SubAgentStarted():
                self._depth[event.child] = self._depth.get(event.run, 0) + 1
                self._line(
                    event, (f"⤷ {event.handler.removeprefix('agent/')}", "magenta"), (f" as {event.child}", "dim")
                )
            case told.PlanMade() | told.PlanChanged():
                self._planned(event)
            case _:
                self._other(event)

    def _other(self, event: RunEvent) -> None:
        match event:
            case told.Handoff():
                reason = f": {one_line(event.reason)}" if event.reason else ""
                self._line(event, (f"⇢ {event.to} goes on", "magenta"), (reason, "dim"))
            case told.Retrying():
                words = f"{event.step or 'the run'}: {one_line(event.error.message)} Trying again."
                self._line(event, ("↻ ", "yellow"), (words, "dim"), fold=False)
            case told.ActDenied():
                words = f"{event.name} is not allowed. {event.reason}".rstrip()
                self._line(event, ("✗ ", "red"), (words, ""), fold=False)
            case told.GuardrailDecided():
                self._guarded(event)
            case told.Compacted():
                self._line(event, (f"… the conversation was too long: {event.how}", "dim"))
            case told.Progress():
                self._far(event)
            case told.RunEnded() | told.RunFailed() | told.RunCancelled():
                self.usage = event.usage
            case told.PlanStepEnded():
                self._ticks(event)
            case told.BudgetSpent():
                self._line(event, (f"! {_budget(event)}", "yellow"))
            case told.MemoryUnavailable():
                self._line(event, ("! ", "yellow"), (memory_words(event), ""), fold=False)
            case _:
                return

    def _far(self, event: told.Progress) -> None:
        """How far a run or a call is; a line a second for each, and one for its end."""
        what, over = event.call or event.tool or event.run, event.done is not None and event.done == event.total
        now = time.monotonic()
        if event.tool is not None and not over and now - self._told.get(what, float("-inf")) < _PAUSE_S:
            return
        self._told[what] = now
        share = f" {event.done:g}/{event.total:g}" if event.done is not None and event.total else ""
        share = f" {event.done:g}" if event.done is not None and not share else share
        tool = f" {event.tool}" if event.tool else ""
        self._line(event, (one_line(f"…{tool}{share} {event.note or ''}".rstrip()), "dim"))

    def _answered(self, event: told.ModelAnswered) -> None:
        if event.run in self._depth or event.purpose is not None:
            return
        if self._streamed:
            rest = event.text.removeprefix(self._streamed)
            if rest and event.text.startswith(self._streamed):  # a piece was lost on its way
                self._screen.text(rest)
            self._screen.end_line()
        # What went with tool calls is not the answer; the last of several answers is.
        self._answer, self._streamed = (event.text if self._streamed and not event.calls else ""), ""

    def _ended(self, event: told.ToolCallEnded) -> None:
        if event.error_type in ("denied", "dropped"):
            return  # `ActDenied` or `GuardrailDecided` has said so; and what was dropped was never done
        took = "" if event.duration_s is None else f" ({event.duration_s:.2f} s)"
        if event.is_error:
            words = f": {one_line(event.content)}" if event.content else ""
            self._line(event, ("✗ ", "red"), (f"{event.tool} failed{took}", ""), (words[:_MOST], "red"), fold=False)
            return
        call = f"{event.tool}{took}"
        room = self._screen.width - cell_len(call) - 2 * self._depth.get(event.run, 0) - 3
        self._line(event, ("✓ ", "green"), (call, ""), (_folded(event.content, room), "dim"))

    def _guarded(self, event: told.GuardrailDecided) -> None:
        if event.decision == "passed":
            return
        what = f"the result of {event.tool}" if event.tool else f"the {event.on}"
        done, color = ("changed", "yellow") if event.decision == "changed" else ("held back", "red")
        words = f"{event.guardrail} {done} {what}."
        self._line(event, ("! ", color), (words, ""), (f" {one_line(event.reason)}".rstrip(), "dim"), fold=False)

    def _step(self, event: told.StepEnded) -> None:
        if event.error is None:
            self._line(event, ("✓ ", "green"), (f"{event.name} ({event.duration_s:.2f} s)", ""))
        elif event.name != "think":  # that one ends the run, or is tried again, which is told
            words = f"{event.name}: {one_line(event.error.message)}"
            self._line(event, ("✗ ", "red"), (words, ""), fold=False)

    def _planned(self, event: told.PlanMade | told.PlanChanged) -> None:
        self._plan, self._ticked = _steps_of(event.plan), set()
        self._line(event, ("Plan" if isinstance(event, told.PlanMade) else "The plan is now", "bold"))
        for id, words in self._plan:
            self._line(event, (f"  ○ {id}", ""), (f" {words}", "dim"))

    def _ticks(self, event: told.PlanStepEnded) -> None:
        if not event.failed:
            self._ticked.add(event.step)
        mark = ("  ✗ ", "red") if event.failed else ("  ● ", "green")
        words = f"{event.step} ({len(self._ticked)} of {len(self._plan)} done)"
        self._line(event, mark, (words, ""))

    def _line(self, event: RunEvent, *parts: tuple[str, str], fold: bool = True) -> None:
        indent = "  " * self._depth.get(event.run, 0)
        self._screen.line((indent, ""), *parts, fold=fold)


def _budget(event: told.BudgetSpent) -> str:
    if event.what == "raised":
        return f"the budget was used up, and raised: {brief(event.data.get('limits') or {})}"
    return "what a call used that was cut off is not known; it is charged as it was reserved"


def memory_words(event: told.MemoryUnavailable) -> str:
    """What is said of a memory that could not be used, in one line."""
    return f"Without memory ({event.what}): {one_line(event.error.message)} 'opspawn doctor' looks at it."


def _folded(content: str, room: int) -> str:
    """The result behind a call in so many columns: its first line, and how many more there are."""
    lines = content[:_MOST].strip().split("\n")
    first, more = one_line(lines[0]), f" (+{len(lines) - 1} lines)" if len(lines) > 1 else ""
    if not first:
        return ""
    text = Text(f": {first}")
    text.truncate(max(10, room - len(more)), overflow="ellipsis")
    return f"{text.plain}{more}"


def brief(arguments: Mapping[str, Any]) -> str:
    """Arguments as a call shows them."""
    text = ", ".join(f"{key}={json.dumps(value, ensure_ascii=False, default=str)}" for key, value in arguments.items())
    return text if len(text) <= 100 else f"{text[:97]}..."


def _steps_of(plan: Any) -> list[tuple[str, str]]:
    steps = plan.get("steps") if isinstance(plan, Mapping) else plan
    if not isinstance(steps, Sequence) or isinstance(steps, str):
        return [("plan", one_line(json.dumps(plan, ensure_ascii=False, default=str)))]
    return [
        (str(step.get("id", number)), one_line(str(step.get("description") or step.get("tool") or "")))
        if isinstance(step, Mapping)
        else (str(number), one_line(str(step)))
        for number, step in enumerate(steps, start=1)
    ]
