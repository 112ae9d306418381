"""Long-term memory: what an agent keeps between runs. Records, and the contract of the backends that keep them.

**Namespaces** are tuples of texts, e.g. `("agent:helper", "user:ada")`. Two are the same if all parts are; no part is
ever read as a pattern. A selection takes one namespace, or with `below` also those that begin with it.

**Scores** mean the same on every memory: they are made by `opspawn.memories.ranking` from the query and the item alone.
1 is as near as can be. Of words, it is the share of the query's words that the item has; of vectors, the cosine, below
0 counted as 0; of both, the higher, so that a threshold means the same in every mode. Weights for recency and
confidence can only make it smaller.

**What is kept** is durable when the call returns. What is forgotten, or has expired, is found by no call; what is
forgotten is gone from the files, too, once `forget` has returned, and what has expired once `purge` or `compact` has.

`opspawn.testing.MemoryContract` holds these promises as tests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, Protocol

from opspawn.contracts.filters import And, Filter, checked
from opspawn.contracts.memory_limits import (
    checked_chosen,
    checked_id,
    checked_ids,
    checked_metadata,
    checked_moment,
    checked_namespace,
    checked_part,
    checked_share,
    checked_span,
    checked_text,
)
from opspawn.errors import InvalidInput

Namespace = tuple[str, ...]
SearchMode = Literal["auto", "text", "vector", "hybrid"]
Duplicates = Literal["merge", "keep"]
#: How many items one call takes, and gives, at most.
MAX_ITEMS = 1000


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an item is from.

    Attributes:
        source: what it was read from or heard in: an address, a file, "conversation".
        who: the person or program that said so. agent: the agent that kept it.
        run, step, session: the task, the key of its step, and the session in which it was kept.
    """

    source: str = ""
    who: str = ""
    agent: str = ""
    run: str = ""
    step: str = ""
    session: str = ""

    def __post_init__(self) -> None:
        for name in ("source", "who", "agent", "run", "step", "session"):
            checked_part(f"provenance.{name}", getattr(self, name), 1000)


#: From nowhere in particular.
NOWHERE: Final = Provenance()


@dataclass(frozen=True, slots=True)
class MemoryItem:
    """One thing that is remembered.

    Attributes:
        text: what, in words: 1 byte to 64 KiB of UTF-8; longer ones are refused.
        namespace: whose it is: 1 to 8 texts of 1 to 200 characters.
        id: up to 128 letters, digits and `-_.:/#`; "" has the memory make one. In one namespace an id is given once.
        metadata: up to 64 keys with texts, numbers, true, false, or lists of these; up to 16 KiB as JSON.
        subject: whom or what it is about, so that it can be forgotten with all about it; up to 200 characters.
        confidence: how sure it is, 0 to 1.
        ttl_s: seconds until it expires; None for never. refresh: whether each time that it is found counts anew.
        created, updated, expires: aware UTC, by the memory's clock; set by the memory, unless given, as by an import.

    Raises: InvalidInput: something does not fit; names it.
    """

    text: str
    namespace: Namespace
    id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    subject: str = ""
    provenance: Provenance = NOWHERE
    confidence: float = 1.0
    ttl_s: float | None = None
    refresh: bool = False
    created: datetime | None = None
    updated: datetime | None = None
    expires: datetime | None = None

    def __post_init__(self) -> None:
        checked_text(self.text)
        object.__setattr__(self, "namespace", checked_namespace(self.namespace, least=1))
        if self.id:
            checked_id(self.id)
        object.__setattr__(self, "metadata", checked_metadata(self.metadata))
        checked_part("subject", self.subject, 200)
        checked_share("confidence", self.confidence)
        if self.ttl_s is not None:
            checked_span("ttl_s", self.ttl_s)
        for name in ("created", "updated", "expires"):
            checked_moment(name, getattr(self, name))

    def fields(self) -> dict[str, Any]:
        """What filters look at."""
        told = self.provenance
        return {
            **self.metadata,
            "@subject": self.subject or None,
            "@session": told.session or None,
            "@source": told.source or None,
            "@who": told.who or None,
            "@agent": told.agent or None,
            "@run": told.run or None,
            "@confidence": self.confidence,
            "@created": None if self.created is None else self.created.isoformat(),
            "@updated": None if self.updated is None else self.updated.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Selection:
    """Which items are meant: all that is given must fit.

    Attributes:
        namespace: theirs; with `below` also those that begin with it, so `Selection((), below=True)` is everything.
        ids: these; none given is all. subject, session: these, if given, and never empty: those without one fit the
            filter `Exists("@subject", False)`. filter: what their fields must fit.
        older_than_s: kept so many seconds ago, or longer.

    Raises: InvalidInput.
    """

    namespace: Namespace = ()
    below: bool = False
    ids: tuple[str, ...] = ()
    subject: str | None = None
    session: str | None = None
    filter: Filter | None = None
    older_than_s: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "namespace", checked_namespace(self.namespace, least=0))
        object.__setattr__(self, "ids", checked_ids(self.ids, MAX_ITEMS))
        for name in ("subject", "session"):
            if getattr(self, name) is not None:
                checked_chosen(name, getattr(self, name), 1000)
        object.__setattr__(self, "filter", checked(self.filter))
        if self.older_than_s is not None:
            checked_span("older_than_s", self.older_than_s, least=0.0)

    @property
    def chosen(self) -> bool:
        """Whether anything but the namespace says which items are meant; a filter of no conditions says nothing."""
        told = (self.subject, self.session, self.older_than_s, None if self.filter == And(()) else self.filter)
        return bool(self.ids) or any(one is not None for one in told)


@dataclass(frozen=True, slots=True)
class MemoryQuery:
    """What is looked for.

    Attributes:
        text: in words, as a person would ask; at most 64 KiB.
        select: among which items. limit: how many at most, 1 to 1000.
        min_score: only those at least as near, 0 to 1.
        mode: "text" by words (BM25), "vector" by meaning, "hybrid" by both; "auto" by what the memory can do.
        recency: how much age counts, 0 to 1: an item that is `half_life_s` old loses half of this part of its score.
        confidence: how much doubt counts, 0 to 1. distinct: whether of items that say the same in nearly the same words
            only the nearest is given.

    Raises: InvalidInput.
    """

    text: str
    select: Selection = field(default_factory=Selection)
    limit: int = 10
    min_score: float = 0.0
    mode: SearchMode = "auto"
    recency: float = 0.0
    half_life_s: float = 30 * 86400.0
    confidence: float = 0.0
    distinct: bool = True

    def __post_init__(self) -> None:
        checked_text(self.text, "The query")
        if isinstance(self.limit, bool) or not isinstance(self.limit, int) or not 1 <= self.limit <= MAX_ITEMS:
            raise InvalidInput(f"limit is {self.limit!r}; a whole number from 1 to {MAX_ITEMS} is meant.")
        if self.mode not in ("auto", "text", "vector", "hybrid"):
            raise InvalidInput(f"mode is {self.mode!r}; auto, text, vector or hybrid is meant.")
        for name in ("min_score", "recency", "confidence"):
            checked_share(name, getattr(self, name))
        checked_span("half_life_s", self.half_life_s)


@dataclass(frozen=True, slots=True)
class Why:
    """Why an item was found.

    Attributes:
        words: the words of the query that it has, as they are in the query. text: the score of these alone.
        distance: 1 - cosine, 0 to 2; None without vectors.
        recency, confidence: what the score was multiplied with for age and for doubt.
    """

    words: tuple[str, ...] = ()
    text: float | None = None
    distance: float | None = None
    recency: float = 1.0
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class Hit:
    """An item that was found, how near it is (0 to 1), and why."""

    item: MemoryItem
    score: float
    why: Why = field(default_factory=Why)


@dataclass(frozen=True, slots=True)
class Added:
    """An item as it is kept now. `new` is False where it was there already, by its id or by its words."""

    item: MemoryItem
    new: bool = True


@dataclass(frozen=True, slots=True)
class MemoryPage:
    """Some items; `cursor` gives the next ones, and is None at the end."""

    items: tuple[MemoryItem, ...]
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class MemoryStats:
    """How much is kept.

    Attributes:
        items: how many. namespaces: how many items in each, by namespace, the largest first, at most 100.
        bytes: what the memory takes on disk, as a whole; None where that is not known.
        embedder, dim: whose vectors they are, and how long. vectors: how many items have one.
    """

    items: int
    namespaces: tuple[tuple[Namespace, int], ...] = ()
    bytes: int | None = None
    embedder: str | None = None
    dim: int | None = None
    vectors: int = 0


class Keep:
    """The type of `KEEP`: leave a field as it is."""

    def __repr__(self) -> str:
        return "KEEP"


KEEP: Final = Keep()


@dataclass(frozen=True, slots=True)
class Change:
    """What is changed in an item; `ttl_s` counts from now. See `MemoryItem` for the fields."""

    text: str | Keep = KEEP
    metadata: Mapping[str, Any] | Keep = KEEP
    subject: str | Keep = KEEP
    confidence: float | Keep = KEEP
    ttl_s: float | Keep | None = KEEP
    refresh: bool | Keep = KEEP


OnProgress = Callable[[int, int], None]


class Embedder(Protocol):
    """Makes vectors of texts.

    `model` names it, "NAME:MODEL": vectors of different models do not compare. `dim` is their length, None until the
    first is known. `batch` is how many texts it takes at once.
    """

    @property
    def model(self) -> str: ...
    @property
    def dim(self) -> int | None: ...
    @property
    def batch(self) -> int: ...

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """One vector per text, in order, of finite numbers. Raises: ModelError, as a model provider."""
        ...

    async def aclose(self) -> None:
        """Close connections. Idempotent."""
        ...


class Memory(Protocol):
    """A long-term memory. Safe to use from one event loop; several processes may share what it keeps.

    Every method raises `MemoryFailed` when it cannot do its work; nothing was changed then.

    One that can lose a part of what it keeps can also have `async def check(self) -> Sequence[Finding]`: what an
    operator should know of it, for `opspawn doctor`.
    """

    async def add(self, items: Sequence[MemoryItem], *, duplicates: Duplicates = "merge") -> list[Added]:
        """Keep items, all or none, and return them in order as they are kept.

        An id that is there already in the namespace is that item: it is returned as it is. With "merge", so is one
        whose text is there already, but for case and spaces, about the same subject: it becomes as sure as the surer of
        both, and expires as the new one does. At most 1000 items.

        Raises: EmbedderMismatch: what is kept has vectors of another embedder. ModelError: the embedder failed.
        """
        ...

    async def update(self, namespace: Namespace, id: str, change: Change) -> MemoryItem:
        """Change an item and return it. Raises: NotFound. As `add`."""
        ...

    async def get(self, namespace: Namespace, id: str) -> MemoryItem | None:
        """The item; None if there is none, also in another namespace."""
        ...

    async def search(self, query: MemoryQuery) -> list[Hit]:
        """What is nearest, best first; of equals the newest first.

        Items without any word of the query, or whose vectors point elsewhere (score 0), are not found. If the embedder
        cannot be asked, "auto" and "hybrid" search by words alone.

        Raises: InvalidInput: by vectors, and there is no embedder. EmbedderMismatch.
        """
        ...

    async def items(self, select: Selection, *, limit: int = 100, cursor: str | None = None) -> MemoryPage:
        """Items, the newest first. Raises: InvalidInput: the cursor is none of this memory."""
        ...

    async def forget(self, select: Selection) -> int:
        """Remove items, and every trace of them; the answer is how many. Expired ones go, too, and do not count."""
        ...

    async def stats(self, select: Selection) -> MemoryStats:
        """How much is kept under a namespace; of the selection nothing else counts."""
        ...

    async def reembed(self, on_progress: OnProgress | None = None) -> int:
        """Give all items vectors of the embedder that is configured now, or none without one; the answer is how many
        were made. `on_progress` hears how many are done, and how many there are. What is broken off goes on next time.
        """
        ...

    async def purge(self) -> int:
        """Remove every trace of what expired more than a minute ago; the answer is how many. Cheap if there is none.

        Workers call it now and then. The minute is for those who have just found an item that use refreshes.
        """
        ...

    async def compact(self, on_progress: OnProgress | None = None) -> None:
        """Bring what is kept in order: as small, and as quickly searched, as it can be, without a trace of what has
        expired or was changed. May take minutes; calls go on meanwhile, and changes may have to wait. `on_progress`
        hears how many steps are done, from 0 on, and how many there are; one may take much longer than another.
        """
        ...

    async def aclose(self) -> None:
        """Finish what was begun, and close. Idempotent."""
        ...


async def every_item(memory: Memory, select: Selection) -> AsyncIterator[MemoryItem]:
    """All items of a selection, page by page."""
    cursor: str | None = None
    while True:
        page = await memory.items(select, limit=200, cursor=cursor)
        for item in page.items:
            yield item
        if (cursor := page.cursor) is None:
            return
