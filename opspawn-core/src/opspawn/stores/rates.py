"""Rates: a bucket of units that refills, as one time at which it will be full (GCRA, ITU-T I.371)."""

from __future__ import annotations

import math

from opspawn.contracts.store import Take
from opspawn.errors import Limited, StoreError
from opspawn.stores.transaction import Transaction

_FULL = "SELECT full FROM rates WHERE key = ?"
_SPEND = "INSERT INTO rates (key, full) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET full = excluded.full"
_EMPTY = "DELETE FROM rates WHERE key = ?"
_FORGET = "DELETE FROM rates WHERE key IN (SELECT key FROM rates WHERE full <= ? ORDER BY full LIMIT 2)"


def check(take: Take) -> None:
    """Raises: StoreError: the numbers make no rate."""
    numbers = (take.amount, take.per_s, take.burst)
    if not (all(map(math.isfinite, numbers)) and take.per_s > 0 and take.burst > 0):
        raise StoreError(
            f"The rate {take.key!r} cannot be: {take.amount:g} of {take.burst:g}, {take.per_s:g} a second.",
            remedy="Give finite numbers, per_s and burst above 0.",
        )


def spend(tx: Transaction, take: Take) -> int:
    """Spend or give back. Raises: Limited."""
    unit = 1_000_000 / take.per_s  # microseconds in which one unit comes back
    row = tx.execute(_FULL, (take.key,)).fetchone()
    begin = max(float(tx.now), row[0]) if row else float(tx.now)
    full = begin + take.amount * unit
    if take.amount > 0 and not take.force:
        over = full - tx.now - max(take.burst, take.amount) * unit
        if over > 0.5:  # a float of our times is exact to a quarter of a microsecond
            raise Limited(take.key, (math.ceil(over) + 1) / 1_000_000)
    tx.execute(_FORGET, (tx.now,))  # a full bucket is like none: the table holds those in use
    if full > tx.now:
        tx.execute(_SPEND, (take.key, full))
    else:
        tx.execute(_EMPTY, (take.key,))
    return 0
