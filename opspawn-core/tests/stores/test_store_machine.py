"""Whatever is asked of it, the SQLite store answers as the model does."""

from __future__ import annotations

import pytest

from opspawn.contracts.clock import Clock
from opspawn.contracts.store import Store
from opspawn.stores.sqlite import open_sqlite
from opspawn.testing.store_machine import StoreMachine, how_long


class SqliteMachine(StoreMachine):
    async def open(self, clock: Clock) -> Store:
        return await open_sqlite(clock=clock)


pytestmark = pytest.mark.timeout(240)  # thousands of calls, one after the other: half a minute on a busy machine

TestSqliteBesideTheModel = SqliteMachine.TestCase
TestSqliteBesideTheModel.settings = how_long()
