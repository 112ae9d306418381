"""The model keeps every promise of a store, so that others may be compared with it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from opspawn.testing import ModelStore
from opspawn.testing.store_contract import StoreContract


class TestModelStore(StoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[ModelStore]:
        store = ModelStore()
        yield store
        await store.aclose()
