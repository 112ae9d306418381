"""The promises of a long-term memory, as tests. A memory proves itself by filling one method:

    class TestMyMemory(MemoryContract):
        async def open_memory(self, place, *, clock, embedder):
            return await open_my_memory(place / "memory", clock=clock, embedder=embedder)

`place` is an empty folder, and opening it again opens what was kept there; `clock` tells the time, which counts for
what expires; `embedder` is None where a memory must find by words alone. Each test is one promise, in the words of its
docstring and its name, which is its id; most run twice, with and without an embedder. A promise is never overridden: a
memory that cannot keep one marks it as an expected failure, with the reason. What is promised and why stands in
`opspawn.contracts.memory`.
"""

from __future__ import annotations

import pytest

from opspawn.testing.memory_promises import MemorySuite
from opspawn.testing.memory_promises.finding import FindingPromises
from opspawn.testing.memory_promises.forgetting import ForgettingPromises
from opspawn.testing.memory_promises.forking import ForkingPromises
from opspawn.testing.memory_promises.isolation import IsolationPromises
from opspawn.testing.memory_promises.keeping import KeepingPromises

__all__ = ["MemoryContract", "MemorySuite"]


@pytest.mark.asyncio
class MemoryContract(KeepingPromises, FindingPromises, IsolationPromises, ForgettingPromises, ForkingPromises):
    """Every promise of a memory. Inherit, and give `open_memory`."""
