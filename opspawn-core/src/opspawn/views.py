"""How tasks and events look from outside: one shape for the API and for `--json` on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

from opspawn.contracts.clock import iso
from opspawn.contracts.events import Event
from opspawn.contracts.question import AskedQuestion
from opspawn.contracts.seeing import Why, WorkerInfo
from opspawn.contracts.store import Task
from opspawn.ops.engine.doubts import open_doubts

#: A time, as `iso` writes it.
Time = Annotated[
    datetime,
    PlainSerializer(iso, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class Wire(BaseModel):
    """A JSON object with camelCase members."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, defer_build=True)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON data."""
        return self.model_dump(mode="json", by_alias=True)


class DoubtView(Wire):
    """A step with the effect "once" that began, and of which nobody knows whether it happened."""

    key: str
    kind: str | None = None
    name: str
    arguments: Any = None
    since: Time | None = None
    idempotency_key: str | None = None
    note: str | None = None


class UsageView(Wire):
    """What model calls used: tokens, the calls themselves, and their cost in US dollars, null where it is unknown."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    requests: int = 0
    cost: str | None = None


class AnsweredView(Wire):
    """How the run of an agent ended: a word of `opspawn.contracts.planner.REASONS`, and what its model calls used.

    `usage` includes that of the agents that it asked.
    """

    reason: str
    usage: UsageView


class TaskView(Wire):
    """A task."""

    id: str
    handler: str
    state: str
    agent: str | None
    session_id: str | None
    parent: str | None
    root: str
    queue: str
    priority: int
    strict: bool
    failures: int
    input: Any
    result: Any
    answered: AnsweredView | None = None
    error: dict[str, Any] | None
    labels: dict[str, str]
    retry_of: str | None
    doubts: list[DoubtView] = []
    due: Time | None
    deadline: Time | None
    created: Time | None
    updated: Time | None
    ended: Time | None

    @classmethod
    def of(cls, task: Task, answered: Mapping[str, Any] | None = None) -> TaskView:
        """A task; `answered` is what its journal says of its agent's end, shown where one task is asked for."""
        return cls(
            id=task.id,
            handler=task.handler,
            state=str(task.state),
            agent=task.agent,
            session_id=task.session,
            parent=task.parent,
            root=task.root,
            queue=task.queue,
            priority=task.priority,
            strict=task.strict,
            failures=task.attempt,
            input=task.input,
            result=task.result,
            answered=None if answered is None else AnsweredView.model_validate(answered),
            error=task.error,
            labels=dict(task.labels),
            retry_of=task.retry_of,
            doubts=[DoubtView.model_validate(doubt) for doubt in open_doubts(task)],
            due=task.due,
            deadline=task.deadline,
            created=task.created,
            updated=task.updated,
            ended=task.ended,
        )


class QuestionView(Wire):
    """A question that a run asked."""

    id: str
    text: str
    choices: list[Any]
    answer_schema: dict[str, Any] | None
    to: str | None
    kind: str
    digest: str | None
    call: dict[str, Any] | None
    task: str
    root: str
    key: str
    agent: str | None
    session_id: str | None
    state: str
    expires: Time | None
    created: Time | None
    answer: Any
    answered_by: str | None
    answered_at: Time | None
    consumed_by: str | None

    @classmethod
    def of(cls, asked: AskedQuestion) -> QuestionView:
        question, answer = asked.question, asked.answer
        return cls(
            id=asked.id,
            text=question.text,
            choices=list(question.choices),
            answer_schema=None if question.schema is None else dict(question.schema),
            to=question.to,
            kind=question.kind,
            digest=question.digest,
            call=None if question.call is None else dict(question.call),
            task=asked.task,
            root=asked.root,
            key=asked.key,
            agent=asked.agent,
            session_id=asked.session,
            state=asked.state,
            expires=asked.expires,
            created=asked.created,
            answer=None if answer is None else answer.value,
            answered_by=None if answer is None else answer.by,
            answered_at=None if answer is None else answer.at,
            consumed_by=asked.consumed_by,
        )


class WaitView(Wire):
    """One thing that a task waits for."""

    kind: str
    what: str
    until: Time | None
    remedy: str | None
    details: dict[str, Any]


class WhyView(Wire):
    """What a task waits for, the most telling first."""

    task: str
    handler: str
    state: str
    waits: list[WaitView]

    @classmethod
    def of(cls, why: Why) -> WhyView:
        waits = [
            WaitView(kind=w.kind, what=w.what, until=w.until, remedy=w.remedy, details=dict(w.details))
            for w in why.waits
        ]
        return cls(task=why.task, handler=why.handler, state=why.state, waits=waits)


class WorkerView(Wire):
    """A worker as it last told of itself."""

    id: str
    alive: bool
    host: str
    pid: int
    version: str
    queues: list[str]
    handlers: list[str]
    more_handlers: int
    slots: int
    running: int
    draining: bool
    started: Time | None
    seen: Time

    @classmethod
    def of(cls, worker: WorkerInfo, now: datetime) -> WorkerView:
        names = cls.model_fields.keys() - {"alive", "queues", "handlers"}
        given = {name: getattr(worker, name) for name in names}
        lists = {"queues": list(worker.queues), "handlers": list(worker.handlers)}
        return cls.model_validate({**given, **lists, "alive": worker.alive(now)})


class EventView(Wire):
    """One line of a journal."""

    position: int
    task: str | None
    time: Time
    type: str
    level: str
    agent: str | None
    session_id: str | None
    error_type: str | None
    data: dict[str, Any]

    @classmethod
    def of(cls, event: Event) -> EventView:
        return cls(
            position=event.position,
            task=event.task,
            time=event.time,
            type=event.type,
            level=event.level,
            agent=event.agent,
            session_id=event.session,
            error_type=event.error_type,
            data=event.data,
        )
