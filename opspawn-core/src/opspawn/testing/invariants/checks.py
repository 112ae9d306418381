"""Between tasks, and between journals and records: do they agree?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from opspawn.contracts.events import Event
from opspawn.contracts.store import Record, Task, TaskState
from opspawn.ops.retry_plans import max_attempts
from opspawn.testing.invariants.places import check_places
from opspawn.testing.invariants.story import Story
from opspawn.testing.invariants.violation import Violation

#: What is promised, by the name under which a `Violation` reports it.
RULES: Mapping[str, str] = {
    "order": "The events of a task are in the order of their positions.",
    "accepted-once": "A task is accepted once.",
    "missing": "Nothing that was accepted is missing: neither a task, nor its journal, nor a child.",
    "ends-once": "A task reaches one end, and nothing happens to it afterwards.",
    "drained": "When nothing works any more, every task has ended, or waits for a human.",
    "legal-path": "The events of a task are a path through its states.",
    "agrees": "The record of a task says what its journal says.",
    "fenced": "Only the holder of a claim records steps, timers and children.",
    "tokens-rise": "Every claim of a task has a higher token than the one before.",
    "one-holder": "A task is not claimed while the lease of its last claim lasts.",
    "deliveries": "Only claims that end by their lease count as lost deliveries.",
    "attempts": "Only failures count as attempts, one by one, up to the limit of the task.",
    "not-before-due": "A task starts no earlier than its delay, its backoff or its timer says.",
    "one-result": "A step, a timer, a child and an event of the user's is recorded once for its key; a signal is taken "
    "once; a question ends once.",
    "once": "A `once` effect begins once, unless somebody decided that it may begin again.",
    "children": "A parent hears the end of each child, truthfully, and is not cancelled before its children ended.",
    "places": "No more tasks hold a concurrency key at once than its limit allows.",
    "schedules": "Each time of a schedule is served once.",
    "idempotency": "An idempotency key stands for one task, which exists.",
}
_HALTED = (TaskState.PAUSED, TaskState.IN_DOUBT)


def find_violations(
    tasks: Iterable[Task],
    events: Iterable[Event],
    *,
    records: Iterable[Record] = (),
    accepted: Iterable[str] = (),
    drained: bool = False,
    lease_s: float | None = None,
) -> list[Violation]:
    """Return every broken promise that tasks and events show, those within a journal first.

    Args:
        tasks: all records of tasks, read *before* the events where the system runs meanwhile.
        events: all events, oldest first. Those of other tasks may lie between those of one.
        records: other records, of which those of idempotency keys are looked at.
        accepted: ids that callers were given. drained: nothing works any more, and nothing is to be done.
        lease_s: the length of leases, in seconds, if none was ended early (as a store does for a dead process).
    """
    known = {task.id: task for task in tasks}
    events = list(events)
    stories = _follow(known, events, lease_s)
    found = [violation for story in stories.values() for violation in story.broken]
    for id in accepted:
        if id not in known:
            found.append(Violation("missing", id, "was accepted and is not there"))
    for id, task in known.items():
        found += _check_record(task, stories.get(id), drained)
    for story in stories.values():
        if drained and story.task not in known:
            found.append(Violation("missing", story.task, "has events and no record", _at(story.first)))
        found += _check_children(story, stories)
    found += check_places(known, stories, lease_s)
    found += _check_schedules(events)
    for record in records:
        if record.kind == "idempotency" and record.data.get("task") not in known:
            words = f"belongs to the idempotency key {record.id!r} and is not there"
            found.append(Violation("idempotency", str(record.data.get("task")), words))
    return found


def _follow(known: Mapping[str, Task], events: Iterable[Event], lease_s: float | None) -> dict[str, Story]:
    stories: dict[str, Story] = {}
    for event in events:
        if event.task is None:
            continue
        story = stories.get(event.task)
        if story is None:
            task = known.get(event.task)
            inherits = event.type == "task.accepted" and not event.data.get("from_scratch")
            before = stories.get(str(event.data.get("retry_of"))) if inherits else None
            deadline = float("inf") if task is None or task.deadline is None else task.deadline.timestamp()
            timed = task is None or task.timeout_s is not None or task.deadline is not None
            story = Story(event.task, before=before, timed=timed, lease_s=lease_s, deadline=deadline)
            stories[event.task] = story
        story.absorb(event)
    return stories


def _check_record(task: Task, story: Story | None, drained: bool) -> Iterator[Violation]:
    if story is None:
        yield Violation("missing", task.id, "has a record and no events")
        return
    if task.state.terminal or drained:
        halted = story.state is TaskState.PAUSED or story.handed_over
        resumed = halted and task.state is TaskState.QUEUED  # without an event
        if story.state is not task.state and not resumed:
            words = f"is {task.state} by its record and {story.state} by its journal"
            yield Violation("agrees", task.id, words, _at(story.last))
        if task.attempt != story.failures:
            words = f"counts {task.attempt} attempts in its record, and {story.failures} failed"
            yield Violation("attempts", task.id, words)
        if task.token < story.token:
            words = f"has token {task.token}, which is lower than that of its last claim, {story.token}"
            yield Violation("tokens-rise", task.id, words, _at(story.claimed))
    if drained and not task.state.terminal and task.state not in _HALTED:
        yield Violation("drained", task.id, f"is still {task.state}", _at(story.last))
    limit = max_attempts(task)
    if story.failures > limit:
        words = f"failed {story.failures} times where {limit} attempts are allowed"
        yield Violation("attempts", task.id, words, _at(story.last))


def _check_children(parent: Story, stories: Mapping[str, Story]) -> Iterator[Violation]:
    for child, made in parent.children.items():
        story = stories.get(child)
        if story is None:
            yield Violation("missing", parent.task, f"spawned the child {child}, which is not there", [made])
            continue
        told, end = parent.child_ends.get(child), story.ended
        over = parent.ended.position if parent.ended is not None else None
        if end is not None and told is None and (over is None or end.position < over):
            words = f"was not told that its child {child} ended"
            yield Violation("children", parent.task, words, [made, end.position])
        if told is not None and (end is None or end.type != f"task.{told.data['state']}"):
            words = f"was told that its child {child} was {told.data['state']}, and it was not"
            yield Violation("children", parent.task, words, [told.position])
        if (
            parent.ended is not None
            and parent.ended.type == "task.cancelled"
            and (end is None or end.position > parent.ended.position)
        ):
            words = f"was cancelled before its child {child} had ended"
            yield Violation("children", parent.task, words, [made, parent.ended.position])


def _check_schedules(events: Iterable[Event]) -> Iterator[Violation]:
    served: dict[tuple[str, str], int] = {}
    for event in events:
        if event.type == "schedule.fired":
            name, due = event.data["schedule"], event.data["due"]
            before = served.setdefault((name, due), event.position)
            if before != event.position:
                words = f"came of the schedule {name!r}, whose time {due} was served before"
                yield Violation("schedules", event.data["task"], words, [before, event.position])


def _at(event: Event | None) -> list[int]:
    return [] if event is None else [event.position]
