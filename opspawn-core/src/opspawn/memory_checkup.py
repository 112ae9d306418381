"""What a doctor looks at of the long-term memory and its embedder. Makes no memory where there is none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from opspawn.agentkit.memories import Memories
from opspawn.contracts.memory import Embedder, MemoryStats, Selection
from opspawn.contracts.store import Finding
from opspawn.errors import OpspawnError
from opspawn.memories.embedding import in_time, vectors_of

Part = tuple[str, Finding]
_EVERYTHING = Selection((), below=True)
#: How long an embedder may take to make the one vector that it is asked for, in seconds: it may load its weights.
_PATIENCE_S = 60.0


async def examine_memory(memories: Memories, *, embed: bool = False) -> AsyncIterator[Part]:
    """What is to be said of the memory, which is opened, and of the embedder, which is only set up.

    Args:
        embed: have the embedder make a vector: it may load its weights, or ask a vendor who charges for it.
    """
    embedder, finding = await _embedder(memories, embed)
    if finding is not None:
        yield "embedder", finding
        if finding.level == "error" and embedder is None:
            return  # without it the memory cannot be opened either
    try:
        if (missing := memories.nothing_yet()) is not None:
            yield "memory", Finding("ok", f"Memory {memories.name}: {missing[:1].lower()}{missing[1:]}")
            return
        memory = await memories.get()
        stats = await memory.stats(_EVERYTHING)
        check: Callable[[], Awaitable[Sequence[Finding]]] | None = getattr(memory, "check", None)
        said = await check() if check is not None else ()
    except OpspawnError as error:
        yield "memory", Finding("error", error.message, error.remedy)
        return
    except Exception as error:  # a plugin's
        yield "memory", _broken("memory", memories.name, error)
        return
    yield "memory", _told(memories.name, stats, embedder)
    for one in said:
        yield "memory", one


async def _embedder(memories: Memories, embed: bool) -> tuple[Embedder | None, Finding | None]:
    embedder = None
    try:
        if (embedder := memories.embedder()) is None:
            return None, None
        if not embed:
            words = f"Embedder {embedder.model} is set up; --embed has it make a vector, which may cost."
            return embedder, Finding("ok", words)
        async with in_time(embedder, _PATIENCE_S):
            [vector] = await vectors_of(embedder, ["hello"])
    except OpspawnError as error:
        return embedder, Finding("error", error.message, error.remedy)
    except Exception as error:  # a plugin's
        return embedder, _broken("embedder", embedder.model if embedder is not None else "", error)
    return embedder, Finding("ok", f"Embedder {embedder.model} makes vectors of {len(vector)} numbers.")


def _told(name: str, stats: MemoryStats, embedder: Embedder | None) -> Finding:
    words = f"Memory {name} has {stats.items:,} item{'' if stats.items == 1 else 's'}"
    if embedder is None:
        kept = f", and vectors of {stats.embedder} that are not used" if stats.vectors else ""
        return Finding("ok", f"{words}{kept}.")
    other = stats.vectors and (stats.embedder != embedder.model or (embedder.dim or stats.dim) != stats.dim)
    if other:
        words = f"{words}, with vectors of {stats.embedder}, {stats.dim} numbers each: not those of {embedder.model}."
        return Finding("error", words, "Make all anew with 'opspawn memory reembed', or configure that embedder again.")
    if stats.vectors < stats.items:
        words = f"{words}, of which {stats.items - stats.vectors:,} have no vector, and are found by their words alone."
        return Finding("warning", words, "Make them with 'opspawn memory reembed'.")
    return Finding("ok", f"{words}, each with a vector of {embedder.model}." if stats.items else f"{words}.")


def _broken(what: str, name: str, error: Exception) -> Finding:
    return Finding("error", f"The {what} {name!r} failed: {type(error).__name__}: {error}", "See its plugin's page.")
