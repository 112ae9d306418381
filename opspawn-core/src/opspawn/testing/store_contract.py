"""The promises of a store, as tests. A store proves itself by filling one fixture:

    class TestMyStore(StoreContract):
        @pytest.fixture
        async def store(self):
            store = await open_my_store(...)  # empty, and nobody else's
            yield store
            await store.aclose()

Each test is one promise, in the words of its docstring; its name is the promise's id. What is promised and why stands
in `opspawn.contracts.store`. What not every store can do is a capability: a store that has it says so, and fills one
fixture more.

    class TestMyStore(StoreContract):
        capabilities = frozenset({Capability.SHARED})

        @pytest.fixture
        async def another(self, store):
            another = await open_my_store(...)  # a second one on the same data
            yield another
            await another.aclose()

A promise is never overridden: a store that cannot keep one marks it as an expected failure, with the reason. The tests
wait for what they expect and assert no speed; leases in them are long, except where one is meant to end.
"""

from __future__ import annotations

import pytest

from opspawn.testing.store_promises.capabilities import Capability
from opspawn.testing.store_promises.checks import CheckPromises
from opspawn.testing.store_promises.claims import ClaimPromises
from opspawn.testing.store_promises.commits import CommitPromises
from opspawn.testing.store_promises.deletes import DeletePromises
from opspawn.testing.store_promises.holds import HoldPromises
from opspawn.testing.store_promises.lanes import LanePromises
from opspawn.testing.store_promises.leases import LeasePromises
from opspawn.testing.store_promises.moves import MovePromises
from opspawn.testing.store_promises.payloads import PayloadPromises
from opspawn.testing.store_promises.rates import RatePromises
from opspawn.testing.store_promises.reads import ReadPromises
from opspawn.testing.store_promises.records import RecordPromises
from opspawn.testing.store_promises.replies import ReplyPromises
from opspawn.testing.store_promises.shared import SharedPromises
from opspawn.testing.store_promises.tails import TailPromises
from opspawn.testing.store_promises.wakes import WakePromises

__all__ = ["Capability", "StoreContract"]


@pytest.mark.asyncio
class StoreContract(
    CommitPromises,
    ReplyPromises,
    ClaimPromises,
    LeasePromises,
    HoldPromises,
    LanePromises,
    WakePromises,
    RatePromises,
    RecordPromises,
    CheckPromises,
    PayloadPromises,
    DeletePromises,
    ReadPromises,
    TailPromises,
    SharedPromises,
    MovePromises,
):
    """Every promise of a store. Inherit, and give the fixture `store`."""
