"""What all work inside one transaction shares."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime

from opspawn.contracts.clock import Clock
from opspawn.stores import rows


class Transaction:
    """One open transaction of the writer.

    Attributes:
        execute: runs a statement on the one cursor of the transaction, and returns that cursor.
        now: the store's clock, microseconds since 1970; the same for everything in the transaction.
        time: the same moment, aware UTC.
        types: of the events appended so far.
        finally_: called with True after the commit, with False when the transaction failed.
    """

    __slots__ = ("cursor", "execute", "finally_", "now", "time", "types")

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        self.cursor = connection.cursor()
        self.execute = self.cursor.execute
        self.now = round(clock.time() * 1_000_000)
        self.time: datetime = rows.moment(self.now)
        self.types: set[str] = set()
        self.finally_: list[Callable[[bool], None]] = []
