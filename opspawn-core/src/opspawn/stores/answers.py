"""First answers, kept for a while, so that whoever lost a reply may ask again.

A reply of this store can only be lost inside its process, so memory is the right place: whoever could ask again after a
crash is gone with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from opspawn.contracts.store import REMEMBERED_S
from opspawn.stores.transaction import Transaction

_MOST = 10_000
T = TypeVar("T")


class Answers:
    """For the writer's thread alone. Refusals are not kept: what was not applied may be tried anew."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[int, Any]] = {}  # oldest first

    def once(self, tx: Transaction, sort: str, id: str | None, do: Callable[[], T]) -> T:
        """What `do` returned when it was first called under this id, or returns now. Without an id, now."""
        if id is None:
            return do()
        key = (sort, id)
        self._forget(tx.now)
        kept = self._kept.get(key)
        if kept is not None:  # guard: the same id is applied once
            answer: T = kept[1]
            return answer
        answer = do()
        self._kept[key] = (tx.now, answer)
        tx.finally_.append(lambda committed: None if committed else self._drop(key))
        return answer

    def _drop(self, key: tuple[str, str]) -> None:
        self._kept.pop(key, None)

    def _forget(self, now: int) -> None:
        before = now - round(REMEMBERED_S * 1_000_000)
        while self._kept:
            oldest = next(iter(self._kept))
            if self._kept[oldest][0] > before and len(self._kept) < _MOST:
                return
            del self._kept[oldest]
