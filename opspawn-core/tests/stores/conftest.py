"""What the tests of stores share: a store in a file of its own, and what is collected where."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from opspawn.stores.sqlite import SqliteStore, open_sqlite


def _may_mount() -> bool:
    """Whether this user may mount a disk: root outside of most containers."""
    if os.geteuid() != 0:
        return False
    tried = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


#: Only who may mount a small disk can fill one; `test_a_full_disk_is_an_error_and_not_a_loss` is for all.
collect_ignore = [] if _may_mount() else ["test_sqlite_full_disk.py"]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "x.db")


@pytest.fixture
async def store(path: str) -> AsyncIterator[SqliteStore]:
    store = await open_sqlite(path)
    yield store
    await store.aclose()
