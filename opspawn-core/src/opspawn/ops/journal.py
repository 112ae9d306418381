"""A claimed task's journal as a run context sees it: what is recorded, and the fenced writes that add to it.

The journal is read once per claim, and news (`refresh`) are read when the task's `wakes` rise. Every write carries the
claim's token. A write that the store refuses, or cannot do, ends this life of the run with `Interrupted`: the run may not go
on with an effect whose record is uncertain, and whoever claims the task next reads what was really committed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from hashlib import blake2b
from typing import Any

from opspawn.agentkit.log import Asked, Recorded
from opspawn.contracts.events import Event, NewEvent, TaskDelta
from opspawn.contracts.model import ModelDelta
from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.store import Append, Batch, Lease, Operation, Put, Receipt, Store, Task, TaskState
from opspawn.errors import InDoubt, Interrupted, JournalMismatch, NotFound, StoreError


class Journal:
    """The `StepLog` of a durable run.

    Args:
        events: the task's journal so far, oldest first.
        inherited: the journal of the generation before, whose successes count here too.
        identity: the first generation's id, the stem of all idempotency keys.
        knows: whether a handler exists, for children. ring: called with a queue after a child was made.
        may_act: raises Interrupted when the worker may no longer act under this lease.
    """

    durable = True

    def __init__(
        self,
        store: Store,
        lease: Lease,
        events: Sequence[Event] = (),
        *,
        inherited: Sequence[Event] = (),
        identity: str | None = None,
        knows: Callable[[str], bool] = lambda handler: True,
        ring: Callable[[str], None] = lambda queue: None,
        may_act: Callable[[], None] = lambda: None,
    ) -> None:
        self.task: Task = lease.task
        self.identity = identity or lease.task.id
        self.wakes = lease.task.wakes
        self.closed = False
        self.cancel_requested = False
        self._store = store
        self._token = lease.token
        self._knows = knows
        self._ring = ring
        self._may_act = may_act
        self._position = 0
        self._ends: dict[str, Recorded] = {}
        self._intents: dict[str, tuple[str, str, str, Any]] = {}
        self._tries: dict[str, list[float]] = {}
        self._timers: dict[str, float] = {}
        self._children: dict[str, tuple[str, str]] = {}
        self._lives: dict[str, int] = {}
        self._child_ends: dict[str, Recorded] = {}
        self._waiters: dict[str, asyncio.Future[Recorded]] = {}
        for event in inherited:
            self._inherit(event)
        self.absorb(events)

    # -- reading -------------------------------------------------------------------------------------------------------

    def absorb(self, events: Sequence[Event]) -> None:
        """Take in events that others or an earlier life of the run have written."""
        for event in events:
            self._position = max(self._position, event.position)
            reader = _READERS.get(event.type)
            if reader is not None:
                reader(self, event.data)
            elif event.type.startswith("custom.") and "key" in event.data:
                self._ends[event.data["key"]] = Recorded(event.data.get("digest", ""), event.type, True)

    async def refresh(self, wakes: int) -> None:
        """Read the news; `wakes` is the count that told of them."""
        self.absorb(await self._store.journal(self.task.id, self._position))
        self.wakes = max(self.wakes, wakes)

    @property
    def unfinished_children(self) -> list[str]:
        """Ids of children that have not reported their end."""
        return [child for child, _ in self._children.values() if child not in self._child_ends]

    def _inherit(self, event: Event) -> None:
        if event.type in ("step.done", "child.spawned", "task.resolved"):
            _READERS[event.type](self, event.data)
        elif event.type == "child.ended" and event.data.get("state") == TaskState.SUCCEEDED:
            self._read_child_ended(event.data)
        elif event.type in ("task.failed", "task.cancelled"):
            self._children = {k: c for k, c in self._children.items() if c[0] in self._child_ends}

    def _read_done(self, data: dict[str, Any]) -> None:
        self._ends[data["key"]] = Recorded(data["digest"], data["name"], True, data.get("result"))

    def _read_failed(self, data: dict[str, Any]) -> None:
        self._ends[data["key"]] = Recorded(data["digest"], data["name"], False, error=data["error"])

    def _read_started(self, data: dict[str, Any]) -> None:
        self._intents[data["key"]] = (data["kind"], data["name"], data["digest"], data.get("arguments"))

    def _read_retry(self, data: dict[str, Any]) -> None:
        self._intents.pop(data["key"], None)
        self._tries.setdefault(data["key"], []).append(data["until"])

    def _read_timer(self, data: dict[str, Any]) -> None:
        self._timers[data["key"]] = data["until"]

    def _read_spawned(self, data: dict[str, Any]) -> None:
        key = data["key"]
        self._children[key] = (data["child"], data["digest"])
        self._lives[key] = self._lives.get(key, 0) + 1

    def _read_child_ended(self, data: dict[str, Any]) -> None:
        ok = data["state"] == TaskState.SUCCEEDED
        error = data.get("error") or {
            "type": str(data["state"]),
            "message": f"The child {data['child']} was {data['state']}.",
        }
        end = Recorded("", "", ok, data.get("result"), None if ok else {**error, "class": "StepFailed"})
        self._child_ends[data["child"]] = end
        waiter = self._waiters.pop(data["child"], None)
        if waiter is not None and not waiter.done():
            waiter.set_result(end)

    def _read_task_retry(self, data: dict[str, Any]) -> None:
        """A new attempt answers every recorded step but the failure that ended the last one."""
        key = data.get("key")
        if key is not None:
            if (end := self._ends.get(key)) is not None and not end.ok:
                del self._ends[key]
                self._intents.pop(key, None)
            self._children.pop(key, None)
            self._tries.pop(key, None)

    def _read_resolved(self, data: dict[str, Any]) -> None:
        key = data["key"]
        intent = self._intents.pop(key, None)
        if intent is None or data["outcome"] == "again":
            return
        _, name, asked, _ = intent
        if data["outcome"] == "happened":
            self._ends[key] = Recorded(asked, name, True, data.get("result"))
        else:
            self._ends[key] = Recorded(asked, name, False, error=data["error"])

    def _read_cancel(self, data: dict[str, Any]) -> None:
        self.cancel_requested = True

    # -- StepLog -------------------------------------------------------------------------------------------------------

    def recall(self, asked: Asked) -> Recorded | None:
        self._open()
        end = self._ends.get(asked.key)
        if end is not None:
            self._same(asked, end.name, end.digest)
            return end
        intent = self._intents.get(asked.key)
        if intent is not None:
            self._same(asked, intent[1], intent[2])
            raise InDoubt(asked.key, asked.name, intent[3], kind=asked.kind)
        return None

    def tries(self, key: str) -> list[float]:
        return self._tries.get(key, [])

    def check(self) -> None:
        self._open()
        self._may_act()

    async def begin(self, asked: Asked, arguments: Any) -> None:
        await self._append("step.started", asked, arguments=arguments)

    async def done(self, asked: Asked, result: Any, duration_s: float) -> None:
        await self._append("step.done", asked, result=result, duration_s=round(duration_s, 6))

    async def failed(self, asked: Asked, error: dict[str, Any], duration_s: float) -> None:
        await self._append("step.failed", asked, error=error, duration_s=round(duration_s, 6))

    async def retry(self, asked: Asked, tries: int, error: dict[str, Any], delay_s: float) -> float:
        until = time.time() + delay_s
        await self._append("step.retry", asked, error=error, until=until, **{"try": tries})
        return until

    async def timer(self, asked: Asked, seconds: float) -> float:
        self._open()
        if asked.key not in self._timers:
            self._timers[asked.key] = time.time() + seconds
            await self._append("timer.set", asked, until=self._timers[asked.key])
        return self._timers[asked.key]

    async def spawn(
        self, asked: Asked, handler: str, input: Any, timeout_s: float | None, retry: RetryPolicy | None
    ) -> Recorded | Awaitable[Recorded]:
        self._open()
        known = self._children.get(asked.key)
        if known is None:
            known = await self._make_child(asked, handler, input, timeout_s, retry)
        child, digest = known
        self._same(asked, handler, digest)
        end = self._child_ends.get(child)
        if end is not None:
            return end
        return self._waiters.setdefault(child, asyncio.get_running_loop().create_future())

    async def emit(self, asked: Asked, data: dict[str, Any]) -> None:
        body = {**data, "key": asked.key, "digest": asked.digest}
        await self.commit([Append(self.task.id, NewEvent(asked.name, body), self._token)])

    def delta(self, delta: ModelDelta) -> None:
        data = {"kind": delta.kind, "text": delta.text} | ({"tool": delta.tool} if delta.tool else {})
        self._store.publish([TaskDelta(self.task.id, data)])

    # -- writing -------------------------------------------------------------------------------------------------------

    async def commit(self, operations: Sequence[Operation]) -> Receipt:
        """Commit under the lease. Raises: Interrupted when the store refuses or fails."""
        self._open()
        try:
            return await self._store.commit(Batch(operations))
        except StoreError as error:
            self.closed = True
            raise Interrupted(f"Task {self.task.id} stops in this process: {error}") from error

    async def _append(self, type: str, asked: Asked, **data: Any) -> None:
        body = {"key": asked.key, "kind": asked.kind, "name": asked.name, "digest": asked.digest, **data}
        if "error" in data:
            event = NewEvent(type, body, level="warning", error_type=data["error"]["type"])
        else:
            event = NewEvent(type, body)
        await self.commit([Append(self.task.id, event, self._token)])

    async def _make_child(
        self, asked: Asked, handler: str, input: Any, timeout_s: float | None, retry: RetryPolicy | None
    ) -> tuple[str, str]:
        if not self._knows(handler):
            raise NotFound(*handler.split("/", 1))
        self._may_act()
        life = self._lives.get(asked.key, 0)
        id = child_id(self.task.id, asked.key, life)
        child = Task(
            id=id,
            handler=handler,
            root=self.task.root,
            queue=self.task.queue,
            priority=self.task.priority,
            parent=self.task.id,
            agent=handler.removeprefix("agent/") if handler.startswith("agent/") else self.task.agent,
            session=self.task.session,
            input=input,
            retry=asdict(retry) if retry is not None else None,
            timeout_s=timeout_s,
            labels=self.task.labels,
        )
        spawned = {"key": asked.key, "child": id, "name": handler, "digest": asked.digest}
        await self.commit(
            [
                Put(child, expect=0),
                Append(id, NewEvent("task.accepted", {"handler": handler, "input": input, "parent": self.task.id})),
                Append(self.task.id, NewEvent("child.spawned", spawned), self._token),
            ]
        )
        self._read_spawned(spawned)
        self._ring(child.queue)
        return id, asked.digest

    def _open(self) -> None:
        if self.closed:
            raise Interrupted(f"Task {self.task.id} goes on elsewhere; this life of its run has ended.")

    def _same(self, asked: Asked, name: str, digest: str) -> None:
        if asked.digest != digest:
            then = f"{name!r} with digest {digest[:8]}"
            raise JournalMismatch(asked.key, then, f"{asked.name!r} with digest {asked.digest[:8]}")


def child_id(parent: str, key: str, life: int) -> str:
    """Return the id of a child: derived, so that a half-made fan-out resumes with the same children."""
    return "t-" + blake2b(f"{parent}\n{key}\n{life}".encode(), digest_size=12).hexdigest()


_READERS: dict[str, Callable[[Journal, dict[str, Any]], None]] = {
    "step.done": Journal._read_done,
    "step.failed": Journal._read_failed,
    "step.started": Journal._read_started,
    "step.retry": Journal._read_retry,
    "timer.set": Journal._read_timer,
    "child.spawned": Journal._read_spawned,
    "child.ended": Journal._read_child_ended,
    "task.retry": Journal._read_task_retry,
    "task.resolved": Journal._read_resolved,
    "cancel.requested": Journal._read_cancel,
}
