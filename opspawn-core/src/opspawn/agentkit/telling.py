"""From the lines of a journal, and the pieces between them, to the events of a run: the one place that knows both.

A `Teller` is a fold over what happened in one run and the runs within it: fed with the same lines it tells the same
events, whether the run is in memory, live, or long over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from opspawn.agentkit.codec import response_from_json
from opspawn.agentkit.failures import error_from_json
from opspawn.agentkit.open_calls import OpenCalls, is_answer
from opspawn.contracts import run_events as told
from opspawn.contracts.content import Reasoning
from opspawn.contracts.guardrail import Sight
from opspawn.contracts.model import Usage
from opspawn.contracts.run_events import Failure, RunEvent

Data = Mapping[str, Any]
Stamp = Mapping[str, Any]

#: Steps that every run of an agent makes for itself.
_OWN_STEPS = ("instructions", "check the answer", "earlier tasks", "tools", "memory namespace")
#: The key of the one act of a branch of its own, a model call or a call of a tool: the n-th step of the plan.
_BRANCH = re.compile(r"(?:.*/)?gather(?:#\d+)?/(?P<place>\d+)/(?:think(?:#\d+)?|act(?:#\d+)?/0)")
_FAR = ("note", "done", "total", "tool", "call")
_NO_STEPS = ("now", "random", "take", "ask", "wait", "sleep", "emit", "policy", "budget", "spawn")


@dataclass
class _Child:
    key: str
    handler: str
    usage: Usage = field(default_factory=Usage)


@dataclass
class _Run:
    """What is known of one run of the tree."""

    agent: str | None
    calls: OpenCalls = field(default_factory=OpenCalls)
    children: dict[str, _Child] = field(default_factory=dict)
    approvals: set[str] = field(default_factory=set)
    plan: Sequence[str] = ()
    reason: str | None = None

    def step_at(self, key: str) -> str | None:
        """The id of the step of the plan whose act has this key."""
        found = _BRANCH.fullmatch(key) if self.plan else None
        return self.plan[int(found["place"])] if found and int(found["place"]) < len(self.plan) else None


class Teller:
    """Tells what happened in the run `root`, and in the runs within it."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._runs: dict[str, _Run] = {}
        self._children: dict[str, _Child] = {}
        self._usage = Usage()

    @property
    def runs(self) -> set[str]:
        """The ids of the runs of the tree that began so far."""
        return {self._root, *self._children}

    def delta(self, data: Data, *, run: str, agent: str | None = None) -> RunEvent | None:
        """A piece of a stream. Of runs within only their progress is told, lest they be taken for the answer."""
        if run != self._root and (data.get("kind") != "progress" or run not in self._children):
            return None
        known = self._runs.get(run)
        stamp: dict[str, Any] = {"run": run, "agent": known.agent if known else agent}
        kind = data.get("kind")
        if kind == "text":
            return told.TextDelta(text=data["text"], **stamp)
        if kind == "reasoning":
            return told.ReasoningDelta(text=data["text"], **stamp)
        if kind == "tool_call":
            return told.ToolCallDelta(tool=data.get("tool"), text=data["text"], **stamp)
        if kind == "restart":
            return told.DeltasVoid(**stamp)
        if kind == "progress":
            return told.Progress(**_picked(data, *_FAR), **stamp)
        return None

    def line(
        self, type: str, data: Data, *, run: str, agent: str | None = None, time: datetime | None = None
    ) -> list[RunEvent]:
        """What a line of the journal of `run` tells: nothing, an event, or several; their ids are the caller's."""
        known = self._runs.get(run)
        if known is None:
            known = self._runs[run] = _Run(agent)
        stamp: dict[str, Any] = {"run": run, "agent": known.agent, "time": time}
        if type.startswith("custom."):
            plain = {name: value for name, value in data.items() if name not in ("key", "digest")}
            return [told.Custom(name=type.removeprefix("custom."), data=plain, **stamp)]
        tell = _TELLS.get(type)
        return [] if tell is None else tell(self, known, data, stamp)

    # -- the whole -----------------------------------------------------------------------------------------------------

    def _accepted(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        if stamp["run"] != self._root:
            return []
        picked = _picked(data, "input", "session")
        return [told.RunStarted(handler=data["handler"], **picked, **stamp)]

    def _answered(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        run.reason = data.get("reason")
        return run.calls.dropped(None, stamp)

    def _succeeded(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        left = run.calls.dropped(None, stamp)
        if stamp["run"] != self._root:
            return left
        end = told.RunEnded(output=data.get("result"), reason=run.reason, usage=self._usage, **stamp)
        return [*left, end]

    def _failed(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        left = run.calls.dropped(None, stamp)
        if stamp["run"] != self._root:
            return left
        reason = run.reason or (data.get("error") or {}).get("reason")
        return [*left, told.RunFailed(error=_failure(data), reason=reason, usage=self._usage, **stamp)]

    def _cancelled(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        left = run.calls.dropped(None, stamp)
        return [*left, told.RunCancelled(usage=self._usage, **stamp)] if stamp["run"] == self._root else left

    def _paused(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        return [told.RunHalted(state="paused", error=_failure(data) if data.get("error") else None, **stamp)]

    def _in_doubt(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        return [told.RunHalted(state="in_doubt", error=_failure(data) if data.get("error") else None, **stamp)]

    def _attempt(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        until, delay_s = _moment(data.get("until")), data.get("delay_s")
        if until is None and delay_s and stamp["time"] is not None:
            until = stamp["time"] + timedelta(seconds=delay_s)
        return [told.Retrying(step=None, error=_failure(data), failures=data.get("attempt", 0), until=until, **stamp)]

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _done(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        kind, took = data.get("kind"), data.get("duration_s", 0.0)
        if kind == "think":
            return self._thought(run, data, stamp)
        if kind == "act":
            return _ticked(run, run.calls.ended(data["key"], data["name"], data["result"], took, stamp), stamp)
        if kind == "guard":
            return self._guarded(run, data, stamp)
        if kind in _NO_STEPS or data.get("name") in _OWN_STEPS:
            return []
        if kind in ("recall", "remember", "forget"):
            return [told.Recalled(act=kind, data=_without_keys(data), **stamp)]
        return [told.StepEnded(name=data["name"], result=data.get("result"), duration_s=took, **stamp)]

    def _guarded(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        said = data.get("result") or {}
        told_it = {"guardrail": data["name"], "on": said.get("on", ""), "tool": said.get("tool")}
        if "value" in said:
            told_it |= {"value": said["value"], "reason": said.get("reason") or ""}
        decided = told.GuardrailDecided(decision="changed" if "value" in said else "passed", **told_it, **stamp)
        return [decided, *_ticked(run, run.calls.looked_at(data["key"], said), stamp)]

    def _thought(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        response = response_from_json(data["result"] or {})
        if (data["result"] or {}).get("held"):
            calls = [replace(one, arguments={}) if is_answer(one) else one for one in response.tool_calls]
            response = replace(response, text="", parts=(), tool_calls=tuple(calls))
        self._usage += response.usage
        if (child := self._children.get(stamp["run"])) is not None:
            child.usage += response.usage
        answer = told.ModelAnswered(
            text=response.text,
            reasoning="".join(part.text for part in response.parts if isinstance(part, Reasoning)),
            calls=response.tool_calls,
            usage=response.usage,
            model=response.source or response.model,
            finish_reason=response.finish_reason,
            duration_s=data.get("duration_s", 0.0),
            purpose=None if data.get("name") == "think" else data.get("name"),
            **stamp,
        )
        if answer.purpose is not None:
            return [answer]
        left = run.calls.dropped(data["key"], stamp)
        step = run.step_at(data["key"])
        ticks = [] if step is None else [told.PlanStepEnded(step=step, **stamp)]
        return [*left, answer, *ticks, *run.calls.asked(data["key"], response.tool_calls, stamp)]

    def _step_failed(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        kind = data.get("kind")
        if kind in ("act", "handoff", "policy") and (ended := run.calls.failed(data, _words(data), stamp)):
            return _ticked(run, ended, stamp)
        if kind == "guard":
            return _ticked(run, run.calls.held_back(data["key"], _words(data)), stamp)
        if kind in _NO_STEPS:
            return []
        took = data.get("duration_s", 0.0)
        return [told.StepEnded(name=data["name"], error=_failure(data), duration_s=took, **stamp)]

    def _refused(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        return run.calls.refused(data, stamp)

    def _step_retry(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        picked = {"failures": data.get("try", 0), "until": _moment(data.get("until"))}
        return [told.Retrying(step=data.get("name"), error=_failure(data), **picked, **stamp)]

    # -- others --------------------------------------------------------------------------------------------------------

    def _spawned(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        child = _Child(data.get("key", ""), data.get("name") or data["child"])
        run.children[data["child"]] = self._children[data["child"]] = child
        return [told.SubAgentStarted(child=data["child"], handler=child.handler, **stamp)]

    def _child_ended(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        child = run.children.get(data["child"])
        if child is None:
            return []
        error = _failure(data) if data.get("error") else None
        result = data.get("result")
        told_it = {"child": data["child"], "handler": child.handler, "result": result, "usage": child.usage}
        ended = told.SubAgentEnded(error=error, **told_it, **stamp)
        if (step := run.step_at(child.key)) is not None:
            return [ended, told.PlanStepEnded(step=step, failed=error is not None, **stamp)]
        return [ended, *run.calls.answered(child.key, result, error, stamp)]

    def _handoff(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        left = run.calls.handed_over(data["to"], stamp)
        run.agent = data["to"]
        return [*left, told.Handoff(to=data["to"], reason=data.get("reason") or "", **stamp)]

    # -- people --------------------------------------------------------------------------------------------------------

    def _asked(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        id = data.get("question") or data["key"]
        common = {"question": id, "text": data["text"], "to": data.get("to"), "until": _moment(data.get("until"))}
        if data.get("about") != "approval":
            return [told.QuestionAsked(**common, **_picked(data, "about", "choices", "schema"), **stamp)]
        run.approvals.add(id)
        call = data.get("call") or {}
        about = {"act": call.get("act", "tool"), "name": call.get("name", ""), "arguments": call.get("arguments")}
        return [told.ApprovalAsked(**common, **about, reason=call.get("reason") or "", **stamp)]

    def _said(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        id, value, by = data.get("question") or data["key"], data.get("value"), data.get("by")
        if id not in run.approvals:
            return [told.QuestionAnswered(question=id, value=value, by=by, **stamp)]
        said = value if isinstance(value, Mapping) else {}
        return [
            told.ApprovalDecided(
                question=id,
                decision="approve" if said.get("decision") == "approve" else "deny",
                by=by,
                reason=said.get("reason") or "",
                arguments=said.get("arguments"),
                always=bool(said.get("always")),
                **stamp,
            )
        ]

    def _expired(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        id = data.get("question") or data["key"]
        if id in run.approvals:
            return [told.ApprovalDecided(question=id, decision="deny", expired=True, **stamp)]
        return [told.QuestionAnswered(question=id, value=data.get("default"), expired=True, **stamp)]

    def _denied(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        if (on := data.get("act", "tool")) in get_args(Sight):
            about = {"guardrail": data.get("policy") or "", "on": on, "tool": data["name"] if on == "result" else None}
            reason = data.get("reason") or ""
            return [told.GuardrailDecided(decision="held_back", **about, reason=reason, **stamp)]
        detail = {"act": on, "name": data.get("name", ""), "reason": data.get("reason") or ""}
        return [told.ActDenied(**detail, policy=data.get("policy"), by=data.get("by"), **stamp)]

    # -- plans, memory, budgets ----------------------------------------------------------------------------------------

    def _progress(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        return [told.Progress(**_picked(data, *_FAR), **stamp)]

    def _plan_made(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        left, plan = run.calls.planned(stamp), data.get("plan")
        steps = plan.get("steps") if isinstance(plan, Mapping) else plan
        if isinstance(steps, Sequence) and not isinstance(steps, str):
            run.plan = [str(step.get("id")) if isinstance(step, Mapping) else str(n) for n, step in enumerate(steps)]
        kind = told.PlanMade if data.get("number", 1) == 1 else told.PlanChanged
        return [*left, kind(plan=plan, by=data.get("by"), **stamp)]

    def _compacted(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        return [told.Compacted(**_picked(data, "how", "messages", "tokens", "left"), **stamp)]

    def _raised(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        return [told.BudgetSpent(what="raised", data=_without_keys(data), **stamp)]

    def _unknown(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        return [told.BudgetSpent(what="unknown", data=_without_keys(data), **stamp)]

    def _memory_failed(self, run: _Run, data: Data, stamp: Stamp) -> list[RunEvent]:
        return [told.MemoryUnavailable(what=data.get("what", ""), error=_failure(data), **stamp)]


_TELLS: dict[str, Callable[[Teller, _Run, Data, Stamp], list[RunEvent]]] = {
    "task.accepted": Teller._accepted,
    "task.succeeded": Teller._succeeded,
    "task.failed": Teller._failed,
    "task.cancelled": Teller._cancelled,
    "task.paused": Teller._paused,
    "task.in_doubt": Teller._in_doubt,
    "task.retry": Teller._attempt,
    "task.progress": Teller._progress,
    "agent.answered": Teller._answered,
    "agent.compacted": Teller._compacted,
    "agent.handoff": Teller._handoff,
    "step.done": Teller._done,
    "step.failed": Teller._step_failed,
    "step.retry": Teller._step_retry,
    "tool.refused": Teller._refused,
    "child.spawned": Teller._spawned,
    "child.ended": Teller._child_ended,
    "question.asked": Teller._asked,
    "question.answered": Teller._said,
    "question.expired": Teller._expired,
    "policy.denied": Teller._denied,
    "memory.failed": Teller._memory_failed,
    "plan.made": Teller._plan_made,
    "budget.raised": Teller._raised,
    "usage.unknown": Teller._unknown,
}


def _ticked(run: _Run, events: list[RunEvent], stamp: Stamp) -> list[RunEvent]:
    """With the step of the plan that ended with a call: planners call the tool of a step by the step's id."""
    ends = [one for one in events if isinstance(one, told.ToolCallEnded) and one.call in run.plan]
    return [*events, *(told.PlanStepEnded(step=end.call, failed=end.is_error, **stamp) for end in ends)]


def _picked(data: Data, *names: str) -> dict[str, Any]:
    return {name: data[name] for name in names if data.get(name) is not None}


def _without_keys(data: Data) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in ("key", "digest", "kind", "duration_s")}


def _failure(data: Data) -> Failure:
    error = data.get("error") or {}
    return Failure(str(error.get("type") or "error"), str(error.get("message") or "it says nothing"))


def _words(data: Data) -> str:
    """What a model is told of the error of a step."""
    return str(error_from_json(data.get("error") or {}))


def _moment(epoch_s: Any) -> datetime | None:
    return datetime.fromtimestamp(epoch_s, UTC) if isinstance(epoch_s, int | float) else None
