"""Opspawn's memory on LanceDB."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from _common import Settings, expect, report
from _memory import Data, begin, timed_searches

from opspawn.contracts.memory import MemoryItem, MemoryQuery, Selection
from opspawn_memory_lancedb.memory import open_memory

EVERYTHING = Selection((), below=True)


class Known:
    """An embedder that has made all vectors before, so that none of its time counts."""

    model, dim, batch = "known:vectors", 384, 1000

    def __init__(self, data: Data) -> None:
        self.made: dict[str, Any] = dict(zip(data.texts, data.vectors, strict=True))

    async def embed(self, texts: Sequence[str]) -> Sequence[Any]:
        return [self.made[text] for text in texts]

    async def aclose(self) -> None:
        return None


async def main() -> None:
    settings = Settings()
    data = Data(settings.get("items"), settings.get("one_by_one"), settings.get("searches"))
    embedder = Known(data)
    memory = await open_memory(str(settings.folder / "memory.lance"), embedder=embedder)

    def item(n: int) -> MemoryItem:
        return MemoryItem(data.texts[n], ("bench",), str(n))

    batches = [[item(n) for n in batch] for batch in data.batches()]
    singles = [item(n) for n in data.singles()]

    began = begin()
    for batch in batches:
        await memory.add(batch)
    seconds = time.perf_counter() - began
    began = begin()
    await memory.get(("bench",), "0")
    settle = time.perf_counter() - began
    began = begin()
    await asyncio.gather(*(memory.add([one]) for one in singles))
    one = len(singles) / (time.perf_counter() - began)
    began = begin()
    await memory.compact()
    order = time.perf_counter() - began

    loop = asyncio.get_running_loop()

    def search(question: Any) -> list[int]:
        embedder.made["question"] = question
        hits = asyncio.run_coroutine_threadsafe(memory.search(asked), loop).result()
        return [int(hit.item.id) for hit in hits]

    asked = MemoryQuery("question", EVERYTHING, mode="vector", distinct=False)
    count = data.items + data.one_by_one
    figures = await asyncio.to_thread(timed_searches, data, search, count)
    expect((await memory.stats(EVERYTHING)).vectors == count, "items are missing")
    await memory.aclose()
    figures |= {"add": data.items / seconds, "one": one, "order": order, "settled": data.items / (seconds + settle)}
    summary = f"{figures['add']:,.0f} and {one:,.0f} items/s, {figures['search']:,.0f} searches/s"
    report(summary, figures, ("opspawn-memory-lancedb", "lancedb"))


asyncio.run(main())
