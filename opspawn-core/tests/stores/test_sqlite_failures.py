"""What goes wrong around a database: a share on the network, a clock that jumps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opspawn.contracts.store import Finding, Hold, Put, Record, TaskState
from opspawn.errors import Conflict, StoreUnusable
from opspawn.stores import health, mounts
from opspawn.stores.sqlite import open_sqlite
from opspawn.testing.store_promises import a_task, claim, commit, create, created_and_claimed, put, step, the_task


class WallClock:
    """A clock that somebody sets."""

    virtual = False

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.passed = 0.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.passed

    def pass_(self, seconds: float) -> None:
        """Time goes by, and nobody sets anything."""
        self.now += seconds
        self.passed += seconds


@pytest.fixture
def on_a_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that Linux says is on a share."""
    table = tmp_path / "mountinfo"
    share = tmp_path / "share of ours"
    share.mkdir()
    escaped = str(share).replace(" ", r"\040")
    table.write_text(
        "22 1 0:21 / / rw shared:1 - ext4 /dev/root rw\n"
        f"23 22 0:22 / {escaped} rw,relatime shared:2 master:1 - nfs4 server:/ours rw\n"
        f"24 23 0:23 / {escaped}/local rw - tmpfs tmpfs rw\n"
    )
    monkeypatch.setattr(mounts, "MOUNTS", table)
    return share


async def test_a_database_on_a_network_share_is_refused(on_a_share: Path) -> None:
    """Where locks do not hold, two processes would ruin it."""
    with pytest.raises(StoreUnusable, match=r"network file system \(nfs4\)") as caught:
        await open_sqlite(str(on_a_share / "x.db"))
    assert caught.value.remedy is not None
    assert os.listdir(on_a_share) == []


def test_the_file_system_is_that_of_the_innermost_mount(on_a_share: Path) -> None:
    assert mounts.sort_of(on_a_share / "x.db") == "nfs4"
    assert mounts.sort_of(on_a_share / "local" / "x.db") == "tmpfs"
    assert mounts.sort_of(Path("/somewhere/x.db")) == "ext4"


def test_nobody_knows_file_systems_without_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "none")
    assert mounts.sort_of(tmp_path) is None


async def test_a_clock_that_is_set_back_stops_nothing(tmp_path: Path) -> None:
    """Time goes on from where it was: leases end after as long, and nothing is older than what was before it."""
    clock = WallClock()
    store = await open_sqlite(str(tmp_path / "x.db"), clock=clock)
    task = await created_and_claimed(store, lease_s=30)
    before = (await commit(store, step())).time
    clock.now -= 3600
    assert (await commit(store, step())).time == before
    assert await claim(store, "w2") == []
    clock.now += 31
    (lease,) = await claim(store, "w2")
    assert lease.token == task.token + 1
    times = [event.time for event in await store.journal("t1")]
    assert times == sorted(times)
    clock.now += 3600 + 5
    assert ((await commit(store, step())).time - before).total_seconds() == 36
    await store.aclose()


@pytest.mark.parametrize("journaled", [True, False])
async def test_a_file_remembers_its_time(tmp_path: Path, journaled: bool) -> None:
    """Opened by a process whose clock is behind, it goes on from its highest time, whether an event has that or not."""
    path, clock = str(tmp_path / "x.db"), WallClock()
    store = await open_sqlite(path, clock=clock)
    await create(store, due_in_s=None)
    clock.now += 100
    last = await commit(store, step() if journaled else Put(Record("k", "i", {}), 0))
    await store.aclose()
    clock.now -= 5000
    store = await open_sqlite(path, clock=clock)
    assert (await commit(store, step())).time >= last.time
    clock.now += 10
    assert (await commit(store, step())).time >= last.time.fromtimestamp(last.time.timestamp() + 10, last.time.tzinfo)
    await store.aclose()


async def test_processes_on_one_file_share_one_time(tmp_path: Path) -> None:
    """When their clock is set back, each follows what the other has written, with an event or without."""
    path, clock = str(tmp_path / "x.db"), WallClock()
    one, two = await open_sqlite(path, clock=clock), await open_sqlite(path, clock=clock)
    await create(one, due_in_s=None)
    await commit(two, step())
    for operation in (step(), Put(Record("k", "i", {}), 0)):
        clock.pass_(0.5)
        last = await commit(one, operation)
        clock.now -= 1000
        assert (await commit(two, step())).time >= last.time
    await one.aclose()
    await two.aclose()


async def test_a_clock_that_is_set_forward_breaks_no_fence() -> None:
    """All leases end at once: others claim, within limits, and who held before is refused."""
    clock = WallClock()
    store = await open_sqlite(clock=clock)
    await create(store, a_task(holds=(Hold("k", 1),)))
    (first,) = await claim(store, "w1")
    clock.now += 3600
    (second,) = await claim(store, "w2")
    with pytest.raises(Conflict):
        await put(store, first.task, TaskState.SUCCEEDED)
    assert not (await store.renew("w1", [("t1", first.token)], 30))[0].kept
    clock.now -= 3600
    await put(store, second.task, TaskState.SUCCEEDED)
    assert (await the_task(store)).state is TaskState.SUCCEEDED
    await store.aclose()


def words(findings: list[Finding], level: str) -> str:
    return " ".join(finding.what for finding in findings if finding.level == level)


async def test_a_check_tells_what_is_well_and_what_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Worst first; whatever is not well comes with a remedy."""
    store = await open_sqlite(str(tmp_path / "x.db"), synchronous="normal")
    monkeypatch.setattr(health, "WAL_RESET_FIXED", (99, 0, 0))
    findings = list(await store.check())
    assert [finding.level for finding in findings] == sorted((f.level for f in findings), key=health._WORST_FIRST.index)
    assert all(finding.remedy for finding in findings if finding.level != "ok")
    assert "can damage a database" in words(findings, "warning")
    assert "synchronous = normal" in words(findings, "warning")
    assert "layout is 2" in words(findings, "ok")
    assert "is sound" in words(findings, "ok")
    assert "GiB" in " ".join(finding.what for finding in findings)
    monkeypatch.setattr(health, "WAL_RESET_FIXED", (3, 0, 0))
    monkeypatch.setattr(health, "_VERY_LITTLE_SPACE", 1 << 60)
    assert "are free on the disk" in words(list(await store.check()), "error")
    await store.aclose()


async def test_a_check_finds_damage(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    store = await open_sqlite(str(path))
    for n in range(50):
        await commit(store, Put(Record("k", f"{n}", {"text": "x" * 300}), 0))
    await store.aclose()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 4096)
        file.write(b"\xff" * 4000)
    store = await open_sqlite(str(path))
    (worst, *_) = await store.check()
    assert worst.level == "error"
    assert "damaged" in worst.what
    await store.aclose()


async def test_a_check_of_memory_says_that_it_is_memory() -> None:
    store = await open_sqlite()
    assert "ends with this process" in words(list(await store.check()), "warning")
    await store.aclose()
