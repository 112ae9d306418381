"""`once` effects that began in an earlier life, whose end is not known, and for which the code has not asked again.

What is in doubt is found by its key, and the name of the step is part of that. So code that has renamed a step would
begin the effect a second time, and code that dropped it would succeed over it: until each is asked for or somebody has
decided, no new `once` effect begins, and the run does not succeed.
"""

from __future__ import annotations

import asyncio

from opspawn.errors import InDoubt
from opspawn.ops.run.history import History

#: How often, and after how many seconds each, a new effect looks whether another branch has asked meanwhile.
_LOOKS, _LOOK_S = 100, 0.01


class Unasked:
    """Those of one life; empty once the code has asked for each."""

    def __init__(self, history: History) -> None:
        self._intents = history.doubts if history.intents else {}

    def __bool__(self) -> bool:
        return bool(self._intents)

    def asked(self, key: str) -> None:
        """The code has asked for the effect at a key."""
        self._intents.pop(key, None)

    def first(self) -> InDoubt | None:
        """The doubt about one of them, if there is any."""
        for key, intent in self._intents.items():
            doubt = InDoubt(key, intent.name, intent.arguments, kind=intent.kind)
            doubt.note = "The code does not ask for it any more: it was renamed or removed."
            return doubt
        return None

    async def wait(self) -> None:
        """Return once all were asked for: another branch may be on its way. Raises: InDoubt: none is."""
        for _ in range(_LOOKS):
            if not self._intents:
                return
            await asyncio.sleep(_LOOK_S)
        if (doubt := self.first()) is not None:
            raise doubt
