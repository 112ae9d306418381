"""How the runs of a worker hear what came for them while they run: cancels, pauses, children that ended."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from loguru import logger

from opspawn.contracts.store import Store
from opspawn.errors import StoreError
from opspawn.ops.run.life import Life

#: Runs hear at most this often, in seconds: a queue may ring a thousand times a second, and hardly ever for them.
_NEWS_S = 0.02


class News:
    """Asks the store for what came for `lives`, by the id of their tasks, soon after `rung` was set."""

    def __init__(self, store: Store, lives: Mapping[str, Life]) -> None:
        self.rung = asyncio.Event()
        self._store = store
        self._lives = lives

    async def run(self) -> None:
        """Tell runs what arrived since they looked last, until cancelled."""
        while True:
            await self.rung.wait()
            self.rung.clear()
            try:
                await self._hear()
            except StoreError as error:
                logger.bind(error_type=error.error_type).warning("News for runs could not be read: {}", error)
                self.rung.set()
            await asyncio.sleep(_NEWS_S)

    async def _hear(self) -> None:
        if not self._lives:
            return
        for task, wakes in (await self._store.wakes(tuple(self._lives))).items():
            life = self._lives.get(task)
            if life is not None and wakes > life.journal.wakes:
                await life.journal.refresh(wakes)
