"""Copying a store into another one, of whatever sort: while nobody uses either, verified, and safe to interrupt.

As long as a copy is under way the target holds a mark, and no process opens it to work (`opening.open_store`). Who
repeats an interrupted copy goes on with it: what is there already stays. In the end both are read once more, by count
and digest; only then is the mark taken away.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, cast

from opspawn.contracts.clock import iso
from opspawn.contracts.events import Event
from opspawn.contracts.moving import Kept, KeptRest, KeptTask, Movable
from opspawn.contracts.store import Batch, Delete, Put, Record, Store
from opspawn.errors import InvalidTransition, StoreError, StoreUnusable
from opspawn.ops import presence

KIND = "copy"
_PARTS = ("tasks", "records", "events", "rest")
#: A piece of a copy: at most so many items, and about so many bytes.
_ITEMS = 200
_BYTES = 1 << 20
#: Records of those who work on a store, which nobody does while it is copied.
_LEFT_OUT = frozenset({KIND, presence.KIND})

Told = Callable[[Mapping[str, int]], None]


@dataclass(slots=True)
class Part:
    """How many items there are of a sort, and the digest (SHA-256) of all of them in their order."""

    count: int = 0
    digest: str = ""


@dataclass(slots=True)
class Copied:
    """What a store holds by sort: "tasks", "records", "events" (journals, and those of no task), and "rest".

    `already` says that the target held all of it before.
    """

    parts: dict[str, Part] = field(default_factory=dict)
    already: bool = False


async def copy(source: Store, target: Store, origin: str, told: Told = lambda counts: None) -> Copied:
    """Copy everything of `source`, which messages call `origin`, into `target`; what was copied, once it is verified.

    Args:
        told: called now and then with how much has been copied.

    Raises:
        InvalidTransition: one of them is in use, or the target holds something else.
        StoreError: one of them failed, cannot be copied, or the copy is not what it should be. It may be repeated.
    """
    there, here = _movable(source), _movable(target)
    for store, which in ((there, "read from"), (here, "copied to")):
        await _refuse_users(store, which)
    await refuse_unfinished(there)
    mark = await here.get(KIND, KIND)
    if mark is None and await _holds_something(here):
        parts, standing = await _summary(there), await _summary(here)
        if parts != standing:
            raise InvalidTransition(
                f"The store {target.name!r} is not empty, and holds something else than {origin}.",
                remedy="Copy into an empty one: another file, another namespace.",
            )
        return Copied(parts, already=True)
    if mark is not None and mark.data["origin"] != origin:
        raise InvalidTransition(
            f"The store {target.name!r} holds an unfinished copy of {mark.data['origin']}.",
            remedy="Repeat that copy, or copy into an empty store.",
        )
    if mark is None:
        await here.commit(Batch([Put(Record(KIND, KIND, {"origin": origin}), expect=0)]))
    parts = await _transfer(there, here, told)
    await _refuse_users(there, "read from")
    _compare(parts, await _summary(here))
    await here.commit(Batch([Delete(KIND, KIND, 1)]))
    return Copied(parts)


async def refuse_unfinished(store: Store) -> None:
    """Raises: StoreUnusable: a copy into this store was begun and not finished."""
    mark = await store.get(KIND, KIND)
    if mark is not None:
        raise StoreUnusable(
            f"This store holds an unfinished copy of {mark.data['origin']}.",
            remedy="Finish it by the same 'opspawn store copy' again, or use another store.",
        )


def _movable(store: Store) -> Movable:
    if not all(hasattr(store, method) for method in ("kept", "restore", "others")):
        raise StoreError(
            f"The store {store.name!r} cannot be copied.",
            remedy="It must offer what opspawn.contracts.moving.Movable says.",
        )
    return cast(Movable, store)


async def _refuse_users(store: Movable, which: str) -> None:
    users = list(await store.others())
    if users:
        raise InvalidTransition(
            f"The store {store.name!r} that is {which} is in use: {', '.join(users[:3])}"
            f"{f' and {len(users) - 3} more' if len(users) > 3 else ''}.",
            remedy="Stop all servers, workers and commands that use it, then copy again.",
        )


async def _items(store: Movable) -> AsyncGenerator[Kept, None]:
    async with aclosing(store.kept()) as kept:
        async for item in kept:
            if not (isinstance(item, Record) and item.kind in _LEFT_OUT):
                yield item


async def _holds_something(store: Movable) -> bool:
    async with aclosing(_items(store)) as items:
        item = await anext(items)
        return not isinstance(item, KeptRest) or item.position > 0


async def _transfer(source: Movable, target: Movable, told: Told) -> dict[str, Part]:
    sums = _Sums()
    piece: list[Kept] = []
    size = 0
    async with aclosing(_items(source)) as items:
        async for item in items:
            size += sums.add(item)
            piece.append(item)
            if len(piece) == _ITEMS or size > _BYTES:
                await target.restore(piece)
                told(sums.counts)
                piece, size = [], 0
    if piece:
        await target.restore(piece)
    told(sums.counts)
    return sums.parts()


async def _summary(store: Movable) -> dict[str, Part]:
    sums = _Sums()
    async for item in _items(store):
        sums.add(item)
    return sums.parts()


def _compare(wanted: dict[str, Part], found: dict[str, Part]) -> None:
    for name in _PARTS:
        if wanted[name] != found[name]:
            count, there = wanted[name].count, found[name].count
            told = f"{there:,} {name} instead of {count:,}" if count != there else f"other {name} than the source"
            raise StoreError(
                f"The copy is not what it should be: it holds {told}.",
                remedy="Something wrote to one of them meanwhile, or the target held something before: stop all that "
                "use them, and copy into an empty store.",
            )


class _Sums:
    """Counts and digests, item by item."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(_PARTS, 0)
        self._hashes = {name: hashlib.sha256() for name in _PARTS}

    def add(self, item: Kept) -> int:
        """Take an item in; its bytes of JSON."""
        name = _part_of(item)
        if isinstance(item, KeptRest):
            item = replace(item, time=datetime.min)  # each store's clock goes on
        text = json.dumps(asdict(item), sort_keys=True, default=_plain).encode()
        self._hashes[name].update(text + b"\n")
        self.counts[name] += 1
        return len(text)

    def parts(self) -> dict[str, Part]:
        """What was taken in."""
        return {name: Part(self.counts[name], self._hashes[name].hexdigest()) for name in _PARTS}


def _part_of(item: Kept) -> str:
    if isinstance(item, KeptTask):
        return "tasks"
    return "records" if isinstance(item, Record) else "events" if isinstance(item, Event) else "rest"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat() if value.tzinfo is None else iso(value)
    return dict(value)
