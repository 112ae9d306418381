"""A disk that is full loses nothing. `conftest.py` says where this is collected."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from opspawn.errors import StoreError, StoreUnusable
from opspawn.stores.sqlite import open_sqlite
from opspawn.testing.store_promises import commit, create, step


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_disk_that_is_full_loses_nothing(small_disk: Path) -> None:
    """The commit that does not fit says so; what was committed is there, also after opening again with room."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 300_000)
    store = await open_sqlite(str(small_disk / "x.db"))
    await create(store, due_in_s=None)
    kept = 0
    refusal = None
    while refusal is None:
        try:
            await commit(store, step({"n": kept, "text": "x" * 20_000}))
            kept += 1
        except StoreError as error:
            refusal = error
    assert "Free space on the disk" in str(refusal)
    with pytest.raises(StoreError, match="is full"):
        await store.ready()
    assert [event.data["n"] for event in await store.journal("t1")] == list(range(kept))
    ballast.unlink()
    await commit(store, step({"n": kept}))
    await store.aclose()
    store = await open_sqlite(str(small_disk / "x.db"))
    assert [event.data["n"] for event in await store.journal("t1")] == list(range(kept + 1))
    await store.aclose()


async def test_a_disk_with_room_is_ready(tmp_path: Path) -> None:
    store = await open_sqlite(str(tmp_path / "x.db"))
    await store.ready()
    await store.aclose()


async def test_a_database_for_which_there_is_no_room_is_refused(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 1_020_000)
    with pytest.raises(StoreUnusable, match="is full") as caught:
        await open_sqlite(str(small_disk / "x.db"))
    assert caught.value.remedy
    ballast.unlink()
    await (await open_sqlite(str(small_disk / "x.db"))).aclose()
