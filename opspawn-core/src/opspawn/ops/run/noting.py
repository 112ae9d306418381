"""What tools put down within their calls, in the journal of their task."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from opspawn.agentkit.plain import plain_json
from opspawn.contracts.events import NewEvent

if TYPE_CHECKING:
    from opspawn.ops.run.history import History


class Notes:
    """The notes of one call, see `opspawn.contracts.tool.CallNotes`.

    `kept` holds those of all calls of this life of the run, by key, as far as somebody has asked: what a life writes
    comes back to it as news, and is not read twice.
    """

    __slots__ = ("_history", "_kept", "_key", "_write")

    def __init__(
        self, key: str, history: History, kept: dict[str, list[Any]], write: Callable[[NewEvent], Awaitable[None]]
    ) -> None:
        self._key = key
        self._history = history
        self._kept = kept
        self._write = write

    @property
    def cancelled(self) -> bool:
        """Whether the run was asked to end."""
        return self._history.cancel_requested

    def read(self) -> Sequence[Any]:
        """The notes so far, oldest first."""
        return tuple(self._now())

    async def write(self, note: Any) -> None:
        """Put one down, durably. Raises: InvalidInput, Halt."""
        plain, kept = plain_json(note), self._now()
        await self._write(NewEvent("call.noted", {"key": self._key, "note": plain}, level="debug"))
        kept.append(plain)

    def _now(self) -> list[Any]:
        found = self._kept.get(self._key)
        if found is None:
            found = self._kept[self._key] = list(self._history.notes.get(self._key, ()))
        return found
