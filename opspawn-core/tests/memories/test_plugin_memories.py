"""A memory that a plugin opens is looked at before it is used."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from opspawn.agentkit.memories import Memories
from opspawn.contracts.plugins import MemoryPlugin
from opspawn.errors import PluginError
from opspawn.plugins import Plugins
from opspawn.plugins.status import Found


class Half:
    """Searches and adds, and has nothing else."""

    async def add(self, items: Any, *, duplicates: str = "merge") -> list[Any]:
        return []

    async def search(self, query: Any) -> list[Any]:
        return []


@pytest.mark.parametrize(("given", "lacks"), [(Half(), "a Half without update, get"), (None, "a NoneType without add")])
async def test_what_lacks_methods_of_a_memory_is_refused_and_they_are_named(
    tmp_path: Path, given: Any, lacks: str
) -> None:
    async def opens(*_: Any) -> Any:
        return given

    record = MemoryPlugin("half", opens)
    plugins = Plugins([Found(EntryPoint("given", "given", "opspawn"), "given", "1", records=[("memory", record)])])
    memories = Memories(plugins, {}, memory="half", embedder=None, data=str(tmp_path))

    with pytest.raises(PluginError, match=f"The memory 'half' gave {lacks}"):
        await memories.get()
    assert memories.opened is None
