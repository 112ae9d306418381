"""A process that forks: the child has none of the memory's threads, locks and connections."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

from opspawn.contracts.memory import Change, Memory, MemoryItem, MemoryQuery
from opspawn.errors import MemoryFailed
from opspawn.testing.memory_promises import ADA, EVERYTHING, MemorySuite, keep, texts

CALLS: dict[str, Callable[[Memory], Coroutine[Any, Any, Any]]] = {
    "add": lambda memory: memory.add([MemoryItem("Two.", ADA)]),
    "update": lambda memory: memory.update(ADA, "one", Change(text="Three.")),
    "get": lambda memory: memory.get(ADA, "one"),
    "search": lambda memory: memory.search(MemoryQuery("One.")),
    "items": lambda memory: memory.items(EVERYTHING),
    "forget": lambda memory: memory.forget(EVERYTHING),
    "stats": lambda memory: memory.stats(EVERYTHING),
    "reembed": lambda memory: memory.reembed(),
    "compact": lambda memory: memory.compact(),
}


class ForkingPromises(MemorySuite):
    async def test_a_forked_child_is_refused_at_once(self, memory: Memory) -> None:
        """Whatever it calls: to wait there would be to wait for ever. It may close; and the parent goes on."""
        await keep(memory, "One.")
        assert _waited_for_in_a_child(memory) == ""
        await keep(memory, "Two.")
        assert await texts(memory) == ["Two.", "One."]


def _waited_for_in_a_child(memory: Memory) -> str:
    """The calls that are not refused there."""
    told, tell = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python, and others, warn of forks where there are threads
        child = os.fork()
    if not child:
        try:
            faults = [name for name, call in CALLS.items() if not _is_refused(call(memory))]
            faults += [] if _ends(memory.aclose()) else ["aclose"]
            os.write(tell, ", ".join(faults).encode())
        finally:
            os._exit(0)
    os.close(tell)
    with os.fdopen(told) as answer:
        waited = answer.read()
    os.waitpid(child, 0)
    return waited


def _is_refused(call: Coroutine[Any, Any, Any]) -> bool:
    """Whether a call raises without waiting for anything; no event loop is needed for that."""
    try:
        call.send(None)
    except MemoryFailed as error:
        return "forked" in str(error) and error.remedy is not None
    except BaseException:
        return False
    return False


def _ends(call: Coroutine[Any, Any, Any]) -> bool:
    try:
        call.send(None)
    except StopIteration:
        return True
    except BaseException:
        return False
    return False
