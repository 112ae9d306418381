"""What is under a task is found however deep it lies."""

from __future__ import annotations

from dataclasses import replace

from opspawn.contracts.store import Batch, Claim, Put, TaskState
from opspawn.ops.children import descendants
from opspawn.stores.sqlite import open_sqlite
from opspawn.testing.store_promises import a_task

DEEP = 1100  # more than Python calls within each other


async def test_a_chain_deeper_than_pythons_stack_is_walked_to_its_end() -> None:
    store = await open_sqlite(":memory:")
    chain = [a_task(f"t{n}", root="t0", parent=f"t{n - 1}" if n else None) for n in range(DEEP)]
    for start in range(0, DEEP, 500):
        await store.commit(Batch([Put(task, 0) for task in chain[start : start + 500]]))
    while leases := await store.claim(Claim("w", ("default",), ("function/work",), 100, 60.0)):
        parked = [replace(lease.task, state=TaskState.WAITING) for lease in leases]
        await store.commit(Batch([Put(task, task.version, task.token, due_in_s=None) for task in parked]))

    found = [task.id async for children in descendants(store, "t0") for task in children]
    await store.aclose()

    assert found == [task.id for task in chain[1:]]
