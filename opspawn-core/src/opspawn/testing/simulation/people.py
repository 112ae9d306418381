"""People outside: they send the signals that runs wait for, answer their questions, and let go on what is paused.

They say everything more than once, since replies get lost, and several of them say it at the same time.
"""

from __future__ import annotations

import random
from contextlib import suppress

from opspawn.contracts.store import Query, TaskState
from opspawn.errors import InvalidTransition, NotFound, StoreError
from opspawn.ops.engine.engine import Engine
from opspawn.testing.simulation.outside import Outside
from opspawn.testing.simulation.process import Weather

#: How likely they do something about one thing when they look, while the weather is bad.
_CHANCE = 0.5


class People:
    """One of them. `engine` is theirs, on a store that may fail."""

    def __init__(self, engine: Engine, outside: Outside, chance: random.Random, weather: Weather) -> None:
        self._engine = engine
        self._outside = outside
        self._chance = chance
        self._weather = weather

    async def act(self) -> None:
        """Look, and do what there is to do. Raises: StoreError."""
        for key, task in list(self._outside.wanted.items()):
            if self._now():
                await self._signal(key, task)
        for asked in (await self._engine.questions(Query(where={"state": "open"}, limit=200))).items:
            if self._now():
                with suppress(InvalidTransition, NotFound):
                    await self._engine.answer(asked.id, f"{asked.question.text} done", by="somebody")
        for held in (await self._engine.tasks(Query(where={"state": TaskState.PAUSED}, limit=200))).items:
            if self._now():
                with suppress(InvalidTransition, NotFound):
                    await self._engine.resume((held.error or {}).get("with") or held.id, by="somebody")

    async def _signal(self, key: str, task: str) -> None:
        """Once more after it was delivered, perhaps: the same id is the same signal."""
        try:
            await self._engine.signal(task, key, f"{key} done", id=f"for {key}")
        except (InvalidTransition, NotFound):
            del self._outside.wanted[key]
        except StoreError:
            return
        else:
            if self._now():
                self._outside.wanted.pop(key, None)

    def _now(self) -> bool:
        return not self._weather.bad or self._chance.random() < _CHANCE
