"""What all work inside one transaction shares."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime

from opspawn.stores import rows
from opspawn.stores.storetime import StoreTime


class Transaction:
    """One open transaction of the writer.

    Attributes:
        advance: sets the store's clock forward, to microseconds since 1970, for what comes after this transaction.
        execute: runs a statement on the one cursor of the transaction, and returns that cursor.
        now: the store's clock, microseconds since 1970; the same for everything in the transaction.
        time: the same moment, aware UTC.
        types: of the events appended so far of which whoever follows such types is told at once; not those with which a
            worker ends a task, since it tells who waits for that itself, and others hear of it within 100 ms.
        journaled: whether an event was written, which then has the time of the transaction.
        finally_: called with True after the commit, with False when the transaction failed.
    """

    __slots__ = ("advance", "cursor", "execute", "finally_", "journaled", "now", "time", "types")

    def __init__(self, connection: sqlite3.Connection, time: StoreTime) -> None:
        self.cursor = connection.cursor()
        self.execute = self.cursor.execute
        self.advance = time.advance
        self.now = time.read(connection)
        self.time: datetime = rows.moment(self.now)
        self.types: set[str] = set()
        self.journaled = False
        self.finally_: list[Callable[[bool], None]] = []
