"""Everything in a namespace, page by page, and how it gets into another one: see `opspawn.contracts.moving`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Any, cast
from uuid import uuid4

from opspawn.contracts.events import Event
from opspawn.contracts.moving import Kept, KeptRest, KeptTask
from opspawn.contracts.store import Put, Query, Record, Store
from opspawn.errors import Conflict, StoreError
from opspawn.ops.presence import workers
from opspawn.stores import rows
from opspawn.stores.moving import as_put, line_of
from opspawn.stores.payloads import Large
from opspawn_store_redis import connections, decoding, outcomes
from opspawn_store_redis.encoding import Words, packed_row, put_record, task_row
from opspawn_store_redis.packing import packed, packed_each, unpacked
from opspawn_store_redis.reading import Reading

_PAGE = 100


class Moving(Reading):
    """What a store that may be moved has beside the rest; mixed into it."""

    async def kept(self) -> AsyncGenerator[Kept, None]:
        """Everything, for another store."""
        after = 0
        while page := await self._calls.read("kept", "tasks", after, _PAGE):
            for raw in page:
                row = decoding.row(raw)
                places = row.get("pl") or []
                has = tuple(sorted((places[n], bool(places[n + 1])) for n in range(0, len(places), 2)))
                yield KeptTask(await self._whole(row), row["wa"], row["u"] or 0, row["c"] is not None, has)
            after = decoding.seq_of(page[-1])
        for kind in await self._kinds():
            after = 0
            while page := await self._calls.read("kept", "records", after, _PAGE, kind):
                for raw in page:
                    yield decoding.record(kind, raw)
                after = page[-1][-1]
        after = 0
        while page := await self._calls.read("kept", "events", after, _PAGE):
            large = await self._large([marker for entry in page if (marker := decoding.marker_of_event(entry))])
            for entry in page:
                yield decoding.event(entry, large)
            after = decoding.position(page[-1][0])
        now, position, closed, rates = await self._calls.read("kept", "rest", 0, 0)
        full = sorted((key, float(when)) for key, when in decoding.pairs(rates).items())
        yield KeptRest(rows.moment(now), position, tuple(sorted(map(decoding.must, closed))), tuple(full))

    async def _kinds(self) -> list[str]:
        start = f"{self._calls.prefix}recs:"
        cursor, found = 0, set[str]()
        while True:
            cursor, keys = await self._calls.command("SCAN", cursor, "MATCH", f"{_escaped(start)}*", "COUNT", 1000)
            found.update(decoding.must(key).removeprefix(start) for key in keys)
            cursor = int(cursor)
            if not cursor:
                return sorted(found)

    async def restore(self, items: Sequence[Kept]) -> None:
        """Put items as another store kept them, all or none. Raises: Conflict; StoreError."""
        large = Large()
        words = [_words(item, large) for item in items]
        named = [item.task.id if isinstance(item, KeptTask) else getattr(item, "task", None) for item in items]
        tasks = [task for task in named if task is not None]
        data = [packed(large.texts) if large.texts else "", packed(tasks), packed((False, len(words)))]
        data += map(packed_each, words)
        answer = await self._calls.write("commit", data, caller=(uuid4().hex, 1))
        (outcome,) = outcomes.settled([0], unpacked(answer[4]))
        if isinstance(outcome, outcomes.Refused):
            raise _refusal(items[outcome.operation], outcome.more)

    async def others(self) -> Sequence[str]:
        """Other processes with a connection, and where the server does not tell: workers that hold a lease."""
        try:
            listed = decoding.must(await self._calls.command("CLIENT", "LIST"))
        except StoreError:  # not everybody may ask
            return [*await self._telling_of_themselves(), *await self._holding_leases()]
        own, ours = connections.own_name(self._calls.config), f"opspawn:{self._calls.config.namespace}:"
        named = {word[5:] for line in listed.splitlines() for word in line.split() if word.startswith("name=")}
        places = [name.removeprefix(ours).rpartition(":") for name in named if name.startswith(ours) and name != own]
        return [f"process {pid} on {host}" for host, _, pid in sorted(places)]

    async def _telling_of_themselves(self) -> list[str]:
        now = datetime.now(UTC)
        return [
            f"worker {one.id}, process {one.pid} on {one.host}"
            for one in await workers(cast(Store, self))
            if one.alive(now)
        ]

    async def _holding_leases(self) -> list[str]:
        (now, *_) = await self._calls.read("kept", "rest", 0, 0)
        running = (await self.find_tasks(Query({"state": "running"}, limit=200))).items
        leases = {task.owner: task.due for task in running if task.due is not None and task.due > rows.moment(now)}
        return [f"worker {owner}, whose lease ends at {due:%H:%M:%S} UTC" for owner, due in sorted(leases.items())]


def _escaped(text: str) -> str:
    return "".join(f"\\{one}" if one in "[]*?^\\" else one for one in text)


def _words(item: Kept, large: Large) -> Words:
    if isinstance(item, KeptTask):
        put = Put(as_put(item.task), expect=0)
        row = dict(zip(decoding.NAMES, task_row(put, as_put(item.task), large)[0], strict=True)) | _kept(item)
        return ("keep_task", item.task.id, row["s"], row["v"], row["t"], packed_row(list(row.values())))
    if isinstance(item, Record):
        words, _ = put_record(Put(item, expect=item.version), item)
        return ("keep_record", *words[1:], _time(item.created), _time(item.updated))
    if isinstance(item, Event):
        data = large.place(rows.dump(item.data, item.type))
        said = (item.type, item.level, item.error_type, data, item.agent, item.session)
        return ("keep_event", item.position, item.task, _time(item.time), *said)
    return ("keep_rest", item.position, _time(item.time), item.closed, item.rates)


def _kept(item: KeptTask) -> dict[str, Any]:
    """What the store alone knows of a task, by the names of base.lua."""
    task = item.task
    places = [word for key, lasting in item.places for word in (key, int(lasting))]
    return {
        "s": str(task.state), "v": task.version, "t": task.token, "w": task.wakes, "u": item.urgent_at or None,
        "wa": item.wake_at, "c": 1 if item.ending else None, "l": line_of(item), "d": _time(task.due), "o": task.owner,
        "cr": _time(task.created), "up": _time(task.updated), "en": _time(task.ended), "pl": places or None,
    }  # fmt: skip


def _time(time: datetime | None) -> int | None:
    return None if time is None else rows.microseconds(time)


def _refusal(item: Kept, there: Any) -> Conflict:
    if isinstance(item, Event):
        return Conflict(
            f"Task {item.task!r}, whose event is at {item.position}, is not there: somebody wrote while it was copied.",
            remedy="Stop all servers and workers of both stores, then copy once more, into an empty store.",
        )
    if isinstance(item, KeptTask):
        what, version = f"Task {item.task.id!r}", item.task.version
    else:
        assert isinstance(item, Record)
        what, version = f"Record {item.kind}/{item.id}", item.version
    return Conflict(f"{what} is there already, at version {there} and not {version}.")
