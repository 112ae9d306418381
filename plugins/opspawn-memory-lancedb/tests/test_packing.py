"""Each item whole in one column: nothing of it is lost or taken for something else."""

from __future__ import annotations

from pathlib import Path

from opspawn.contracts.memory import MemoryItem, Provenance, Selection
from opspawn_memory_lancedb.memory import open_memory

SPACE = ('user:"ada"\\', "line\\nend")


async def test_an_item_comes_back_as_it_was_whatever_it_says(tmp_path: Path) -> None:
    """Line ends, digits and quotes in each part of it are what they are."""
    odd = 'a\nb\r\n{"c": 1}\u2028\n\n7\n'
    items = [
        MemoryItem(odd, SPACE, "i/1.#", {"m\n": odd, "list": ["\n", 1, 2.5, True]}, odd.strip(), Provenance(who=odd)),
        MemoryItem("x", SPACE, "2", confidence=0.1, ttl_s=1e9 / 3, refresh=True),
        MemoryItem("\U0001f600é\n", SPACE, "3", subject="\U0001f600", confidence=1 / 3, ttl_s=86400.0),
    ]
    memory = await open_memory(str(tmp_path / "memory.lance"))
    told = [one.item for one in await memory.add(items)]
    kept = {one.id: one for one in (await memory.items(Selection((), below=True))).items}
    await memory.aclose()
    assert [kept[one.id] for one in told] == told
    for item in items:
        there = kept[item.id]
        assert (there.text, there.metadata, there.subject) == (item.text, item.metadata, item.subject)
        assert (there.provenance, there.confidence, there.ttl_s) == (item.provenance, item.confidence, item.ttl_s)
        assert (there.refresh, there.namespace) == (item.refresh, SPACE)
