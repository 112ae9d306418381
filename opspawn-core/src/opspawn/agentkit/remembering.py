"""Recalling, remembering and forgetting as steps of a run: recorded once, so that a replay sees what the run saw.

An item that a run keeps has an id that follows from the run and the step. So a step that is repeated after a crash
between the memory's commit and the journal's adds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

from opspawn.agentkit.memory_json import hit_from_json, hit_to_json, item_from_json, item_to_json
from opspawn.agentkit.recollection import own_namespace
from opspawn.agentkit.retries import MODEL_RETRY
from opspawn.contracts.filters import Filter, filter_to_json
from opspawn.contracts.memory import Hit, Memory, MemoryItem, MemoryQuery, Namespace, Provenance, Selection
from opspawn.errors import ConfigError

if TYPE_CHECKING:
    from opspawn.agentkit.context import Context


class OpensMemory(Protocol):
    """Where a run's memory comes from."""

    async def get(self) -> Memory: ...


class Given:
    """A memory that is open already."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def get(self) -> Memory:
        return self._memory


async def memory_of(context: Context) -> Memory:
    """The memory of a run. Raises: ConfigError: it has none. And what opening it raises."""
    if context.memories is None:
        raise ConfigError(
            "This run has no memory: nothing of its agent comes from the configuration.",
            remedy="Give run(..., kit=Kit.load()), or the agent memory=Recollection(memory=...).",
        )
    return await context.memories.get()


async def recall(
    context: Context, query: str, namespace: Namespace | None, filter: Filter | None, key: str | None, options: Any
) -> list[Hit]:
    """See `RunContext.recall`."""
    asked_for = MemoryQuery(query, Selection(namespace or space_of(context), filter=filter), **options)

    async def perform() -> list[Hit]:
        return await (await memory_of(context)).search(asked_for)

    def encode(hits: list[Hit]) -> Any:
        return [hit_to_json(hit) for hit in hits]

    def decode(data: Any) -> list[Hit]:
        return [hit_from_json(one) for one in data]

    what = [query, list(asked_for.select.namespace), _told(filter), options]
    with context._asking("recall", "recall", key, what) as asked:
        return await context._once(asked, perform, encode=encode, decode=decode, retry=MODEL_RETRY)


async def remember(
    context: Context, text: str, namespace: Namespace | None, key: str | None, fields: Mapping[str, Any]
) -> MemoryItem:
    """See `RunContext.remember`."""
    space = namespace or space_of(context)
    source, who = fields["source"], fields["who"]
    picked = {name: value for name, value in fields.items() if name not in ("source", "who")}
    MemoryItem(text, space, **picked)  # what does not fit is told at the call, and is no failed step
    with context._asking("remember", "remember", key, [text, list(space), dict(fields)]) as asked:
        told = Provenance(source, who, context.agent, context.task or "", asked.key[:1000], context.session or "")
        item = MemoryItem(text, space, item_id(f"{context._log.identity}/{asked.key}"), provenance=told, **picked)

        async def perform() -> MemoryItem:
            [added] = await (await memory_of(context)).add([item])
            return added.item

        return await context._once(asked, perform, encode=item_to_json, decode=item_from_json, retry=MODEL_RETRY)


async def forget(context: Context, select: Selection, key: str | None) -> int:
    """See `RunContext.forget`."""

    async def perform() -> int:
        return await (await memory_of(context)).forget(select)

    told = [list(select.namespace), select.below, list(select.ids), select.subject, select.session]
    what = [*told, _told(select.filter), select.older_than_s]
    with context._asking("forget", "forget", key, what) as asked:
        return await context._once(asked, perform, encode=int, decode=int)


def item_id(stem: str) -> str:
    """The id of what a step keeps: the same in every try, attempt and life of the run."""
    return f"r-{blake2b(stem.encode(), digest_size=12).hexdigest()}"


def space_of(context: Context) -> Namespace:
    """The namespace that a run uses unless it names another."""
    return context.namespace or own_namespace(context)


def _told(filter: Filter | None) -> Any:
    return None if filter is None else filter_to_json(filter)
