"""The SQLite store keeps every promise of a store, in memory and on a file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from opspawn.stores.sqlite import SqliteStore, open_sqlite
from opspawn.testing.store_contract import Capability, StoreContract


class TestSqliteInMemory(StoreContract):
    capabilities = frozenset({Capability.MOVABLE})

    @pytest.fixture
    async def elsewhere(self) -> AsyncIterator[SqliteStore]:
        store = await open_sqlite(":memory:")
        yield store
        await store.aclose()

    @pytest.fixture
    async def store(self) -> AsyncIterator[SqliteStore]:
        store = await open_sqlite(":memory:")
        yield store
        await store.aclose()


class TestSqliteOnFile(StoreContract):
    capabilities = frozenset({Capability.SHARED, Capability.MOVABLE})

    @pytest.fixture
    async def elsewhere(self, tmp_path: Path) -> AsyncIterator[SqliteStore]:
        store = await open_sqlite(str(tmp_path / "elsewhere.db"))
        yield store
        await store.aclose()

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SqliteStore]:
        store = await open_sqlite(str(tmp_path / "opspawn.db"))
        yield store
        await store.aclose()

    @pytest.fixture
    async def another(self, store: SqliteStore, tmp_path: Path) -> AsyncIterator[SqliteStore]:
        another = await open_sqlite(str(tmp_path / "opspawn.db"))
        yield another
        await another.aclose()
