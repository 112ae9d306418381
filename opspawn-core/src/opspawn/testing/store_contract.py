"""The promises of a store, as tests. A store proves itself by filling one fixture:

    class TestMyStore(StoreContract):
        @pytest.fixture
        async def store(self):
            store = await open_my_store(...)  # empty, and nobody else's
            yield store
            await store.aclose()

Each test is one promise, in the words of its docstring; what is promised and why stands in `opspawn.contracts.store`.
A promise is never overridden: a store that cannot keep one marks it as an expected failure, with the reason. The tests
wait for what they expect and assert no speed; leases in them are long, except where one is meant to end.
"""

from __future__ import annotations

import pytest

from opspawn.testing.store_promises.claims import ClaimPromises
from opspawn.testing.store_promises.commits import CommitPromises
from opspawn.testing.store_promises.leases import LeasePromises
from opspawn.testing.store_promises.reads import ReadPromises
from opspawn.testing.store_promises.tails import TailPromises
from opspawn.testing.store_promises.wakes import WakePromises


@pytest.mark.asyncio
class StoreContract(CommitPromises, ClaimPromises, LeasePromises, WakePromises, ReadPromises, TailPromises):
    """Every promise of a store. Inherit, and give the fixture `store`."""
