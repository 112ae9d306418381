"""Deletes by the settings `[retention]`, now and then, in one process of a store at a time."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import Any

from loguru import logger

from opspawn import details
from opspawn.config.durations import span_s
from opspawn.config.settings import RetentionSettings
from opspawn.contracts.clock import Clock
from opspawn.contracts.seeing import Pruned
from opspawn.contracts.store import Store
from opspawn.errors import InvalidInput, InvalidTransition, StoreError
from opspawn.ops.keeping import Keep
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
                details.info(
                    "Deleted what is old: {} trees of {} tasks, {} other records, {} events of no task.",
                    done.trees,
                    done.tasks,
                    done.records,
                    done.events,
                )
        except StoreError as error:
            logger.bind(error_type=error.error_type).warning("Nothing old could be deleted: {}", error)
        await asyncio.sleep(every_s * random.uniform(0.8, 1.2))


async def prune_now(
    store: Store,
    settings: RetentionSettings,
    owner: str,
    clock: Clock,
    *,
    older_than: str | None = None,
    keep_at_most: int | None = None,
    dry_run: bool = False,
) -> Pruned:
    """Delete what is old now: by the settings, or by what is given in their place.

    Args:
        older_than: a span such as "30d". keep_at_most: how many trees that have ended stay, the newest.
        dry_run: only say what would be deleted.

    Raises: InvalidInput: no span of time, or nothing says what is old. InvalidTransition: somebody else deletes now.
    """
    seconds = None if older_than is None else span_s(older_than)
    if older_than is not None and seconds is None:
        words = f"is {older_than!r}; a span of time is meant."
        raise InvalidInput(words, argument="older_than", remedy="Write 90s, 10m, 2h or 30d.")
    keep = keep_of(settings)
    if seconds is not None or keep_at_most is not None:
        keep = Keep(seconds, seconds, keep_at_most)
    if keep.everything:
        words = "is missing, and [retention] does not say either what is old."
        raise InvalidInput(words, argument="older_than", remedy='Give a span such as "30d".')
    turn = Turn(store, TURN, owner, clock=clock)
    done = await sweep(store, keep, turn, clock, dry_run=dry_run)
    if done is None:
        raise InvalidTransition(f"{await turn.holder()} is deleting just now.", remedy="Try again in a minute.")
    return done


async def backup(store: Store, path: str) -> None:
    """Copy everything that is committed to a new file, while work goes on.

    Raises: InvalidInput: the store makes no backups itself. StoreError: the file is there, or cannot be written.
    """
    make: Any = getattr(store, "backup", None)
    if make is None:
        raise InvalidInput(f"The store {store.name!r} makes no backups itself.", remedy="Use the tools of its server.")
    await make(path)


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
