"""New vectors for all that is remembered, and how many that were."""

from __future__ import annotations

from dataclasses import dataclass

from opspawn.contracts.memory import Memory, OnProgress, Selection

_EVERYTHING = Selection((), below=True)


@dataclass(frozen=True, slots=True)
class Renewed:
    """How many vectors were made, and how many others are gone."""

    made: int
    removed: int


async def renew(memory: Memory, on_progress: OnProgress | None = None) -> Renewed:
    """Give all items vectors of the embedder that is configured now, or none without one: see `Memory.reembed`.

    `removed` is reckoned from how many there are before and after: what others add or forget meanwhile blurs it.
    """
    before = (await memory.stats(_EVERYTHING)).vectors
    made = await memory.reembed(on_progress)
    after = (await memory.stats(_EVERYTHING)).vectors
    return Renewed(made, max(0, before + made - after))
