"""Questions as records of the store: kept beside the journal, so that open ones are found over all tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from opspawn.contracts.clock import iso_or_none, time_or_none
from opspawn.contracts.question import Answer, AskedQuestion, Question
from opspawn.contracts.store import Batch, Put, Record, Store
from opspawn.errors import Conflict
from opspawn.ops.ids import derived_id

KIND = "question"
#: By what questions are found, and the states in which they are.
FIELDS = ("id", "task", "root", "state", "kind", "to")
STATES = ("open", "answered", "expired", "withdrawn")


def question_id(task: str, key: str, before: int) -> str:
    """The id of the question of a step that has put `before` questions already: derived, so that it is put once."""
    return "q-" + derived_id(task, f"question {key}\n{before}").removeprefix("t-")


def to_record(asked: AskedQuestion) -> Record:
    """The record of a question."""
    question, answer = asked.question, asked.answer
    data: dict[str, Any] = {
        "task": asked.task,
        "root": asked.root,
        "agent": asked.agent,
        "session": asked.session,
        "key": asked.key,
        "state": asked.state,
        "expires": iso_or_none(asked.expires),
        "text": question.text,
        "choices": list(question.choices),
        "schema": None if question.schema is None else dict(question.schema),
        "to": question.to,
        "kind": question.kind,
        "digest": question.digest,
        "call": None if question.call is None else dict(question.call),
        "consumed_by": asked.consumed_by,
    }
    if answer is not None:
        at = iso_or_none(answer.at)
        data["answer"] = {"value": answer.value, "by": answer.by, "at": at}
    fields = {"task": asked.task, "root": asked.root, "state": asked.state, "kind": question.kind}
    fields |= {"to": question.to} if question.to is not None else {}
    return Record(KIND, asked.id, data, asked.version, fields)


def from_record(record: Record) -> AskedQuestion:
    """The question that a record keeps."""
    data: Mapping[str, Any] = record.data
    answer = None
    if (told := data.get("answer")) is not None:
        answer = Answer(told["value"], told["by"], record.id, time_or_none(told["at"]))
    question = Question(
        data["text"],
        tuple(data["choices"]),
        data["schema"],
        data["to"],
        data["kind"],
        data["digest"],
        data.get("call"),
    )
    return AskedQuestion(
        id=record.id,
        question=question,
        task=data["task"],
        root=data["root"],
        key=data["key"],
        state=data["state"],
        agent=data["agent"],
        session=data["session"],
        expires=time_or_none(data["expires"]),
        created=record.created,
        answer=answer,
        consumed_by=data["consumed_by"],
        version=record.version,
    )


def change(asked: AskedQuestion, **changes: Any) -> Put:
    """The change of a question, which fails if somebody else changed it first."""
    return Put(to_record(replace(asked, **changes)), expect=asked.version)


async def withdraw(store: Store, questions: Sequence[str]) -> None:
    """Close the open ones among these questions, since their task has ended. Raises: StoreError."""
    for id in questions:
        record = await store.get(KIND, id)
        if record is None or (asked := from_record(record)).state != "open":
            continue
        with suppress(Conflict):  # somebody else closed it
            await store.commit(Batch([change(asked, state="withdrawn")]))
