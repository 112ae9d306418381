"""The long-term memory of a configuration, and its embedder: found in plugins, opened when first asked for, once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from opspawn.agentkit.offline import refuse_if_forbidden
from opspawn.contracts.memory import Embedder, Memory
from opspawn.contracts.plugins import EmbedderPlugin, MemoryPlugin
from opspawn.errors import ConfigError, MemoryFailed, PluginError
from opspawn.plugins import Plugins

#: The memory of those who name none.
BUILT_IN = "sqlite"


class Memories:
    """What `memory = "NAME"` and `embedder = "NAME:MODEL"` stand for. Belongs to one event loop."""

    def __init__(
        self,
        plugins: Plugins,
        sections: Mapping[str, Mapping[str, Any]],
        *,
        memory: str,
        embedder: str | None,
        data: str,
        network_models: bool = True,
    ) -> None:
        self.name = memory
        self._plugins = plugins
        self._sections = sections
        self._embedder_name = embedder
        self._data = data
        self._network_models = network_models
        self._memory: Memory | None = None
        self._embedder: Embedder | None = None
        self._opening = asyncio.Lock()

    def check(self) -> None:
        """Look for what the configuration names; the built-in memory may be blocked where nobody uses it.

        Raises: ConfigError: the memory or the embedder is not installed, or the embedder names no model.
        """
        if self.name != BUILT_IN:
            self._plugins.get("memory", self.name)
        if self._embedder_name is not None:
            self._chosen(self._embedder_name)

    def nothing_yet(self) -> str | None:
        """What is missing where nothing has been remembered yet; None where something may be. Makes nothing.

        Raises: ConfigError.
        """
        record = cast(MemoryPlugin, self._plugins.get("memory", self.name))
        if record.nothing_yet is None:
            return None
        return record.nothing_yet(self._plugins.section(record, self._sections), self._data)

    def embedder(self) -> Embedder | None:
        """The embedder, if one is configured; it has not been asked for anything yet. Raises: ConfigError."""
        if self._embedder is None and self._embedder_name is not None:
            self._embedder = self._open_embedder(self._embedder_name)
        return self._embedder

    async def get(self) -> Memory:
        """The memory, open.

        Raises: ConfigError: it or its embedder is not installed, or is set wrongly. MemoryUnusable.
        """
        async with self._opening:
            if self._memory is None:
                record = cast(MemoryPlugin, self._plugins.get("memory", self.name))
                section = self._plugins.section(record, self._sections)
                embedder = self.embedder()
                try:
                    memory = await record.open(section, self._data, embedder)
                except (ConfigError, MemoryFailed):
                    raise
                except Exception as error:
                    words = f"{type(error).__name__}: {error}"
                    raise PluginError(f"The memory {self.name!r} cannot be opened: {words}") from error
                self._memory = _whole(memory, self.name)
            return self._memory

    @property
    def opened(self) -> Memory | None:
        """The memory, if somebody has asked for it."""
        return self._memory

    def _chosen(self, chosen: str) -> tuple[EmbedderPlugin, str]:
        prefix, colon, model = chosen.partition(":")
        if not (colon and prefix and model):
            raise ConfigError(
                f"The embedder {chosen!r} names no model.",
                remedy='Write embedder = "NAME:MODEL", e.g. "openai:text-embedding-3-small".',
            )
        return cast(EmbedderPlugin, self._plugins.get("embedder", prefix)), model

    def _open_embedder(self, chosen: str) -> Embedder:
        record, model = self._chosen(chosen)
        if record.network:
            refuse_if_forbidden(record.name, allowed=self._network_models)
        section = self._plugins.section(record, self._sections)
        try:
            return record.open(section, model)
        except ConfigError:
            raise
        except Exception as error:
            raise PluginError(f"The embedder {chosen!r} cannot be opened: {type(error).__name__}: {error}") from error

    async def aclose(self) -> None:
        """Close both. Idempotent; they are opened anew when they are asked for again."""
        memory, embedder = self._memory, self._embedder
        self._memory = self._embedder = None
        if memory is not None:
            await memory.aclose()
        if embedder is not None:
            await embedder.aclose()


def _whole(memory: Any, name: str) -> Memory:
    """A plugin's memory, if it is one: whoever lacks a method is told now, and not when it is first called."""
    lacking = [one for one, about in vars(Memory).items() if callable(about) and one[0] != "_"]
    lacking = [one for one in lacking if not callable(getattr(memory, one, None))]
    if lacking:
        raise PluginError(
            f"The memory {name!r} gave a {type(memory).__name__} without {', '.join(lacking)}.",
            remedy="Its plugin has to offer every method of opspawn.contracts.memory.Memory.",
        )
    return cast(Memory, memory)
