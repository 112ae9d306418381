"""How a run waits for what others send it: each wait looks, says what it waits for, and looks again when news came.

The end of a wait for a signal is a step like any other, with the id of the signal that it took. That of a question is
the answer in the inbox, or the expiry: whichever changed the record of the question first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from opspawn.agentkit.failures import error_to_json
from opspawn.agentkit.log import Pending
from opspawn.agentkit.recorded import Asked, Recorded
from opspawn.contracts.clock import Clock
from opspawn.contracts.events import NewEvent
from opspawn.contracts.question import NO_DEFAULT, AskedQuestion, Question
from opspawn.contracts.store import Operation, Put, Record, Task
from opspawn.errors import Interrupted, StepTimeout
from opspawn.ops.question_records import KIND, change, from_record, question_id, to_record
from opspawn.ops.run.received import Mail, Posed, answer_topic, signal_topic


class Ledger(Protocol):
    """What the inbox needs of the journal. Every method raises Interrupted when this life of the run may not go on."""

    task: Task
    clock: Clock

    async def append(self, type: str, asked: Asked, *, beside: Sequence[Operation] = (), **data: Any) -> object:
        """Append an event of a step, fenced, with other operations beside it."""
        ...

    async def offer(self, event: NewEvent, beside: Sequence[Operation]) -> bool:
        """Append an event, fenced, unless somebody else decided first (or has the lease): then nothing is written."""
        ...

    async def read(self, kind: str, id: str) -> Record | None:
        """A record, or None."""
        ...

    async def look(self) -> None:
        """Read what others sent."""
        ...


class Inbox:
    """The inbox of one life of a run."""

    def __init__(self, ledger: Ledger, mail: Mail) -> None:
        self._ledger = ledger
        self._mail = mail
        self._listening: dict[str, asyncio.Future[None]] = {}

    def let_go(self) -> bool:
        """Tell those who wait for what has come; whether there was one."""
        told = False
        for topic in self._mail.news:
            listening = self._listening.pop(topic, None)
            if listening is not None and not listening.done():
                listening.set_result(None)
                told = True
        self._mail.news.clear()
        return told

    def _pending(self, topic: str, until: float | None) -> Pending:
        listening = self._listening.get(topic)
        if listening is None or listening.done():
            listening = self._listening[topic] = asyncio.get_running_loop().create_future()
        return Pending(listening, until, topic)

    # -- signals -------------------------------------------------------------------------------------------------------

    async def wait(self, asked: Asked, name: str, timeout_s: float | None) -> Recorded | Pending:
        """The next signal that nobody has taken, or what to wait for before calling this again."""
        signal = self._mail.next_signal(name)
        known = self._mail.waits.get(asked.key)
        if signal is None and known is None and timeout_s is not None:
            until = self._ledger.clock.time() + max(0.0, timeout_s)
            await self._ledger.append("signal.awaited", asked, until=until)
            known = self._mail.awaited({"key": asked.key, "name": asked.name, "digest": asked.digest, "until": until})
            signal = self._mail.next_signal(name)  # it may have come during the commit
        if signal is None and known is not None and known.until <= self._ledger.clock.time():
            await self._ledger.look()  # what came before anybody noticed the time is not too late
            signal = self._mail.next_signal(name)
            if signal is None:
                return await self._never_came(asked, name)
        if signal is None:
            return self._pending(signal_topic(name), None if known is None else known.until)
        self._mail.take(signal.id)  # before the commit, since other branches of the run may wait for the same name
        await self._ledger.append("step.done", asked, result=signal.data, signal=signal.id)
        return Recorded(asked.digest, asked.name, True, signal.data)

    async def _never_came(self, asked: Asked, name: str) -> Recorded:
        error = error_to_json(StepTimeout(f"The signal {name!r} did not come in time."))
        await self._ledger.append("step.failed", asked, error=error)
        return Recorded(asked.digest, asked.name, False, error=error)

    # -- questions -----------------------------------------------------------------------------------------------------

    async def ask(self, asked: Asked, question: Question, timeout_s: float | None, default: Any) -> Recorded | Pending:
        """The answer, or what to wait for before calling this again; the first call puts the question."""
        posed = self._mail.questions.get(asked.key)
        if posed is None:
            posed = await self._pose(asked, question, timeout_s, default)
        ended = self._mail.answers.get(posed.id)
        if ended is None and posed.until is not None and posed.until <= self._ledger.clock.time():
            ended = await self._give_up(asked.key, posed)
        return ended or self._pending(answer_topic(posed.id), posed.until)

    async def _pose(self, asked: Asked, question: Question, timeout_s: float | None, default: Any) -> Posed:
        task = self._ledger.task
        id = question_id(task.id, asked.key, self._mail.posed.get(asked.key, 0))
        until = None if timeout_s is None else self._ledger.clock.time() + max(0.0, timeout_s)
        kept = AskedQuestion(
            id=id,
            question=question,
            task=task.id,
            root=task.root,
            key=asked.key,
            state="open",
            agent=task.agent,
            session=task.session,
            expires=None if until is None else datetime.fromtimestamp(until, UTC),
        )
        data: dict[str, Any] = {"question": id, "text": question.text, "about": question.kind, "until": until}
        told = {"choices": list(question.choices) or None, "schema": question.schema, "to": question.to}
        if question.kind != "question":
            told = {"to": question.to, "call": question.call}  # what fits is always the same
        data |= {name: value for name, value in told.items() if value is not None}
        data |= {} if default is NO_DEFAULT else {"default": default}
        await self._ledger.append("question.asked", asked, beside=[Put(to_record(kept), expect=0)], **data)
        return self._mail.put({"key": asked.key, "name": asked.name, "digest": asked.digest, **data})

    async def _give_up(self, key: str, posed: Posed) -> Recorded:
        """Nobody answered in time, unless somebody did just now."""
        data: dict[str, Any] = {"key": key, "question": posed.id}
        if posed.has_default:
            data["default"] = posed.default
        else:
            data["error"] = error_to_json(StepTimeout("Nobody answered the question in time."))
        event = NewEvent("question.expired", data, level="warning", error_type="timeout")
        kept = await self._ledger.read(KIND, posed.id)
        asked = None if kept is None else from_record(kept)
        if asked is None or asked.state == "open":
            beside = [] if asked is None else [change(asked, state="expired")]
            if await self._ledger.offer(event, beside):
                return self._mail.expired(data)
        await self._ledger.look()
        if posed.id not in self._mail.answers:
            raise Interrupted(f"Task {self._ledger.task.id} goes on elsewhere.")
        return self._mail.answers[posed.id]
