"""The record of what happened: one journal line, and the fleeting deltas between the lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Level = Literal["debug", "info", "warning", "error"]

#: Every type of event that Opspawn itself writes, with its meaning. `RunContext.emit` adds types of its own
#: ("custom.…").
EVENT_TYPES: dict[str, str] = {
    "task.accepted": "The task is durably known. data: handler, input; if given: delay_s, parent, "
    "retry_of, from_scratch, fallback_of.",
    "task.claimed": "A worker took the task; written by the store within the claim. data: worker, token, deliveries.",
    "task.waiting": "The task parked: it holds no slot. data: for (children, time, a signal, an answer).",
    "task.released": "A worker that stops gave the task back, or one that lacks what it needs; costs no attempt. data: "
    "deliveries (lost claims that remain counted, of a task that is suspected to kill its workers), lacks (kind and "
    "name of what was not there).",
    "task.retry": "An attempt failed and another will follow. data: error, attempt, delay_s, key (the failed step), "
    "until (epoch seconds, if a service asked to come back then, which costs no attempt).",
    "task.fallback": "No attempt was left, and another handler was asked; the task waits for it. data: error, attempt, "
    "handler, child.",
    "task.isolated": "The task has ended its workers several times without progress, and is run alone, in a process of "
    "its own. data: worker, lost (the workers before).",
    "task.blocking": "The code of the task blocks the event loop of its worker, so that others wait. data: seconds, "
    "where, stack.",
    "task.succeeded": "Terminal. The result is in the task's record.",
    "task.failed": "Terminal. data: error, attempt.",
    "task.cancelled": "Terminal.",
    "task.paused": "The task waits for an operator. data: error.",
    "task.in_doubt": "A `once` effect may or may not have happened; waits for a decision. data: key, name, arguments, "
    "doubts (all of them).",
    "task.resolved": "Somebody decided about a step in doubt. data: key, outcome (happened, not-happened, again, "
    'fail), result, by (who it was; "check" is the tool\'s own), left (how many are still open).',
    "task.resumed": "An operator lets a paused task go on. data: by.",
    "task.progress": "The run says how far it is; journaled at most every 5 s. data: note, done, total.",
    "pause.requested": "Inbox: somebody asked to pause; the claimer parks at its next step. data: by.",
    "cancel.requested": "Somebody asked to cancel; the claimer unwinds, children first.",
    "child.spawned": "A child task was made, in one commit with the child. data: key, child, digest, "
    "lent (what it may use of its parent's budget).",
    "child.ended": "Inbox: a child reached its end. data: child, state, result, error, usage (of all its model calls), "
    "spent (of what it was lent).",
    "step.started": "The intent of a `once` effect, before it begins. data: key, name, digest, arguments.",
    "step.done": "A step's result. data: key, kind, name, digest, result, duration_s.",
    "step.failed": "A step failed for good. data: key, kind, name, digest, error, duration_s.",
    "call.noted": "A tool put something down within its call, in case that the call is made again. data: key, note.",
    "step.retry": "A try of a step failed and it will be tried again. data: key, try, error, until (epoch seconds).",
    "agent.registered": "An agent was registered, or anew. data: name, version, capabilities, contactEndpoint, again.",
    "agent.deregistered": "An agent was forgotten; its history stays. data: state.",
    "agent.state": "An agent's state. data: state, before, details, timestamp; reported and late where they differ.",
    "store.went_back": "The store has lost what it had confirmed: a fail-over, or a crash without a log. Written once "
    "for each process that noticed. data: message.",
    "store.acknowledged": "A person has judged what the store lost until now. data: message (the newest), by.",
    "session.started": "A session began. data: workflow, metadata.",
    "session.updated": "Somebody changed a session. data: what was changed, state, before.",
    "workflow.created": "A workflow was stored under its name. data: workflow, digest.",
    "schedule.added": "A schedule was made. data: schedule, state; so in the next four.",
    "schedule.changed": "Somebody changed a schedule, which goes on from now.",
    "schedule.paused": "Nothing comes of a schedule until it is resumed.",
    "schedule.resumed": "A schedule goes on with the next time that comes.",
    "schedule.removed": "A schedule was forgotten; its tasks stay.",
    "schedule.fired": "The time of a schedule came, in one commit with its task. data: schedule, due, task, missedFrom "
    "(the first of the times that were missed, for which this one stands).",
    "schedule.skipped": "A time of a schedule was left out. data: schedule, due, why (overlap, missed, served), task.",
    "schedule.failed": "Nothing could be submitted at a time of a schedule. data: schedule, due, error.",
    "agent.handoff": "An agent handed the conversation over, and another goes on in the same task. data: key, digest, "
    "from, to, reason.",
    "agent.compacted": "The model is shown less of the conversation from here on. data: key, digest, how (notes, left "
    "out, shortened), messages (how many it is about), tokens and left (estimated, before and after).",
    "memory.failed": "The long-term memory could not be used, and the run went on without. data: key, digest, what "
    "(namespace, recall, extract, remember), error.",
    "listener.disabled": "A listener failed too often and is switched off until the next start of its process. data: "
    "listener, position, error.",
    "plan.made": "A planner has a plan. data: key, digest, agent, number (of the plan in the run, from 1), plan, by "
    "(who changed it, if a person did).",
    "agent.answered": "How the run of an agent ended, in the commit of the task's end. data: agent, reason (a word of "
    "`REASONS`), usage (of all its model calls, those of its children included), error (whether it ended with one).",
    "tool.refused": "A call of a model could not begin: no such tool, or no JSON. data: key, digest, call (its id), "
    "name, words (for the model), why.",
    "timer.set": "A sleep began. data: key, until (epoch seconds).",
    "signal.received": "Inbox: somebody sent a signal. data: id, name, data, by.",
    "signal.awaited": "A wait for a signal with a time-out began. data: key, name, digest, until (epoch seconds).",
    "question.asked": "A question to a human. data: key, name, digest, question (its id), kind, text, until, default.",
    "question.answered": "Inbox: somebody answered a question. data: question, key, value, by.",
    "policy.denied": "A policy, or whoever it asked, did not allow an act. data: key, act, name, reason, policy, by.",
    "approval.used": "A step that was approved begins; in one commit with its intent, if it has one. data: key, "
    "question, digest (of what was asked), by, standing (allowed for the whole run); if the approver changed them: "
    "arguments, usedDigest.",
    "usage.reserved": "A model call of a run with a budget begins. data: key, n (which try), tokens, usd, requests "
    "(what it may use, by an estimate).",
    "usage.unknown": "What a model call used will never be known, since it was cut off: it is charged as it was "
    "reserved. data: key, n, tokens, usd, requests.",
    "budget.raised": "A budget was used up, and raised. data: key, n, purse (whose budget: task or agent), limits (by "
    "how much each; null for without limit), spent, by (who allowed it), model (which goes on instead).",
    "question.expired": "Nobody answered in time. data: question, key, default or error.",
}

#: What the code of a run itself tells, once for each key: types, and beginnings of types.
TOLD_BY_RUNS = ("custom.", "agent.handoff", "agent.compacted", "plan.made", "tool.refused", "memory.failed")
#: Those of them that are no news but warnings.
WARNINGS = frozenset({"memory.failed"})


@dataclass(slots=True)  # not frozen: one is made with every step, in a fifth of the time
class NewEvent:
    """An event to append; the store adds position, time, agent and session.

    `data` is a JSON object. `error_type` is set where the event tells of an error, so that logs can filter by it.
    """

    type: str
    data: dict[str, Any] = field(default_factory=dict)
    level: Level = "info"
    error_type: str | None = None


@dataclass(slots=True)
class Event:
    """One line of a journal.

    `position` is unique in the store and grows in commit order: within a task and, for `tail`, over all tasks.
    `time` is the store's clock, aware UTC. `task` is None for what belongs to none. `agent` and `session` are those of
    the task, or of the append where there is none.
    """

    position: int
    task: str | None
    time: datetime
    type: str
    data: dict[str, Any]
    level: Level = "info"
    error_type: str | None = None
    agent: str | None = None
    session: str | None = None


@dataclass(frozen=True, slots=True)
class TaskDelta:
    """A piece of a stream: best effort, coalesced, never journaled.

    Attributes:
        data: what the run context published. after: the position of the newest event before it, as its store tells.
    """

    task: str
    data: dict[str, Any]
    after: int = field(default=0, compare=False)
