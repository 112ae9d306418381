"""Questions that runs ask humans: finding and answering them."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, get_args

from opspawn.agentkit.questions import check_answer
from opspawn.contracts.events import NewEvent
from opspawn.contracts.question import Answer, AskedQuestion, QuestionKind
from opspawn.contracts.store import Append, Batch, Operation, Page, Query, Task, Wake
from opspawn.errors import Conflict, InvalidTransition, NotFound, StoreError
from opspawn.ops.engine.base import Desk, as_json
from opspawn.ops.engine.checks import check_by, check_query
from opspawn.ops.question_records import FIELDS, KIND, STATES, change, from_record, withdraw

_RACES = 10


class Answering(Desk):
    """The part of the engine that shows questions and takes answers."""

    async def questions(self, query: Query) -> Page[AskedQuestion]:
        """Questions that match, newest first, by `task`, `root`, `state`, `kind`, `to`. Those of a child have the
        `root` of its tree.

        Questions of tasks that have ended do not count as open, even if nobody could note that yet.

        Raises: InvalidInput: another field, or a state or kind that there is not.
        """
        check_query("Questions", query, {"state": STATES, "kind": get_args(QuestionKind)}, FIELDS)
        page = await self._store.find(KIND, query)
        found = [from_record(record) for record in page.items]
        if query.where.get("state") == "open":
            found = [asked for asked in found if await self._still_asks(asked)]
        return Page(found, page.cursor)

    async def question(self, id: str) -> AskedQuestion:
        """A question. Raises: NotFound."""
        record = await self._store.get(KIND, id)
        if record is None:
            raise NotFound("question", id, remedy="See 'opspawn questions list'.")
        return from_record(record)

    async def answer(self, id: str, value: Any, *, by: str | None = None) -> AskedQuestion:
        """Answer a question, durably, and return it. The first answer counts.

        Args:
            by: who answers, for the record; any text of at most 200 characters.

        Raises:
            NotFound: no such question. InvalidTransition: it was answered, it expired, or its task has ended or has no
                time left.
            InvalidInput: the value is none of the choices, or does not fit the schema; or `by` is no text.
        """
        check_by(by)
        plain = as_json("The answer", value)
        for _ in range(_RACES):
            asked = await self.question(id)
            _check_open(asked, self._clock.time())
            plain = check_answer(asked.question, plain)
            task = await self.task(asked.task)
            if task.state.terminal:
                raise _too_late(asked, task)
            if task.deadline is not None and task.deadline.timestamp() <= self._clock.time():
                raise InvalidTransition(f"Task {task.id}, which asked {id}, has no time left: its deadline has passed.")
            told = {"question": id, "key": asked.key, "value": plain, "by": by, "about": asked.question.kind}
            answer = Answer(plain, by, id, datetime.fromtimestamp(self._clock.time(), UTC))
            # An answer is used by the step that asked; of an approval, by the call it allows.
            used = None if asked.question.kind == "approval" else asked.key
            operations: list[Operation] = [
                change(asked, state="answered", answer=answer, consumed_by=used),
                Append(asked.task, NewEvent("question.answered", told)),
                Wake(asked.task),  # not urgent: see `Signalling`
            ]
            try:
                receipt = await self._commit(operations, task.queue)
            except Conflict:
                continue
            asked = await self.question(id)
            if receipt.positions[0]:
                return asked
            with suppress(StoreError):  # its task ended between the look and the commit, and nobody hears the answer
                await self._store.commit(Batch([change(asked, state="withdrawn", answer=None, consumed_by=None)]))
            raise _too_late(asked, await self.task(asked.task))
        raise InvalidTransition(f"The question {id} changes too fast to be answered.", remedy="Try again.")

    async def _still_asks(self, asked: AskedQuestion) -> bool:
        task = await self._store.get_task(asked.task)
        if task is not None and not task.state.terminal:
            return True
        with suppress(StoreError):  # the next one who looks does it
            await withdraw(self._store, [asked.id])
        return False


def _too_late(asked: AskedQuestion, task: Task) -> InvalidTransition:
    return InvalidTransition(f"Task {task.id}, which asked {asked.id}, has ended: it {task.state.words}.")


def _check_open(asked: AskedQuestion, now: float) -> None:
    if asked.state == "answered" and asked.answer is not None:
        who = f" by {asked.answer.by}" if asked.answer.by else ""
        raise InvalidTransition(f"The question {asked.id} has been answered{who} already: {asked.answer.value!r}.")
    if asked.state == "withdrawn":
        raise InvalidTransition(f"The question {asked.id} was withdrawn: task {asked.task} has ended.")
    if asked.state == "expired" or (asked.expires is not None and asked.expires.timestamp() <= now):
        raise InvalidTransition(f"The question {asked.id} has expired; nobody waits for its answer any more.")
