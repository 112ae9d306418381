"""Deletes by the settings `[retention]`, now and then, in one process of a store at a time."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

from loguru import logger

from opspawn.config.durations import span_s
from opspawn.config.settings import RetentionSettings
from opspawn.contracts.clock import Clock
from opspawn.contracts.store import Store
from opspawn.errors import StoreError
from opspawn.ops.keeping import Keep, Pruned
from opspawn.ops.retention import prune
from opspawn.ops.turns import Turn

#: How long after its start a process looks first, and how often it does, in seconds.
FIRST_S = 30.0
EVERY_S = 600.0
#: The name of the turn. `opspawn store prune` takes it, too.
TURN = "housekeeping"
#: A pause between two trees, in seconds, so that work comes first.
_BREATH_S = 0.002
_RENEW_EVERY = 100


def keep_of(settings: RetentionSettings) -> Keep:
    """What the settings say."""
    ended, failed = settings.ended_after, settings.failed_after
    return Keep(
        None if ended is None else span_s(ended), None if failed is None else span_s(failed), settings.keep_at_most
    )


async def keep_house(store: Store, keep: Keep, owner: str, clock: Clock, *, every_s: float = EVERY_S) -> None:
    """Endless; nothing where everything is kept, nor in virtual time. Failures are logged, and the next look comes."""
    if keep.everything or clock.virtual:
        return
    await asyncio.sleep(random.uniform(0.1, 1.0) * min(FIRST_S, every_s))
    while True:
        try:
            done = await sweep(store, keep, Turn(store, TURN, owner, clock=clock), clock)
            if done is not None and (done.trees or done.records or done.events):
                logger.info(
                    "Deleted what is old: {} trees of {} tasks, {} other records, {} events of no task.",
                    done.trees,
                    done.tasks,
                    done.records,
                    done.events,
                )
        except StoreError as error:
            logger.bind(error_type=error.error_type).warning("Nothing old could be deleted: {}", error)
        await asyncio.sleep(every_s * random.uniform(0.8, 1.2))


async def sweep(store: Store, keep: Keep, turn: Turn, clock: Clock, *, dry_run: bool = False) -> Pruned | None:
    """Delete what is not kept; None if somebody else does it now. Raises: StoreError."""
    if not await turn.take():
        return None
    count = 0

    async def between() -> bool:
        nonlocal count
        count += 1
        await asyncio.sleep(_BREATH_S)
        return await turn.take() if count % _RENEW_EVERY == 0 else True

    try:
        now = datetime.fromtimestamp(clock.time(), UTC)
        return await prune(store, keep, now, dry_run=dry_run, between=between)
    finally:
        await turn.give_up()
