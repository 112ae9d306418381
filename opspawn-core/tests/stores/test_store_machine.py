"""Whatever is asked of it, the SQLite store answers as the model does."""

from __future__ import annotations

from opspawn.contracts.clock import Clock
from opspawn.contracts.store import Store
from opspawn.stores.sqlite import open_sqlite
from opspawn.testing.store_machine import StoreMachine, how_long


class SqliteMachine(StoreMachine):
    async def open(self, clock: Clock) -> Store:
        return await open_sqlite(clock=clock)


TestSqliteBesideTheModel = SqliteMachine.TestCase
TestSqliteBesideTheModel.settings = how_long()
