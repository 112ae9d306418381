"""How near an item is to a query. The same on every memory: from the query and the item alone, in [0, 1].

A memory brings candidates: those with all words, those best by words (BM25), those best by vectors. `fused` makes one
list of both by reciprocal rank fusion (Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and
individual Rank Learning Methods", SIGIR 2009); ranks of lists compare where raw scores do not. `ranked` then scores
those that are in the fused list: BM25 depends on what else is kept, so it chooses and breaks ties, and is no score. Of
words and vectors the better counts: what is near by its meaning alone is as near as if there had been no search by
words. `further` tells whether others may be better than those that were brought.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import log2
from operator import mul
from typing import Protocol, TypeVar

from opspawn.contracts.memory import Hit, MemoryItem, MemoryQuery, Why
from opspawn.errors import EmbedderMismatch, MemoryFailed
from opspawn.memories.words import found_in, terms, words

K = TypeVar("K", bound=Hashable)

#: The constant of reciprocal rank fusion: how little the first places differ.
RRF = 60
#: Items whose words are the same to this part say the same.
SAME = 0.9
#: How many times as many candidates a second look brings where near-duplicates took their places.
_WIDER = 10
_AGES_S = 1000 * 366 * 86400.0


class Reranker(Protocol):
    """Says how near texts are to a query, by reading both: slower than vectors, and better."""

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """One number in [0, 1] per text, in order; higher is nearer."""
        ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item that may be near; `cosine` is None without vectors, `reranked` without a reranker."""

    item: MemoryItem
    cosine: float | None = None
    reranked: float | None = None


def pool(limit: int) -> int:
    """How many candidates of each kind to bring for so many hits."""
    return max(50, 5 * limit)


@dataclass(frozen=True, slots=True)
class Further:
    """What a second look is for: so many candidates of each kind, so sure at least, and changed since then."""

    most: int
    confidence: float = 0.0
    since: datetime | None = None


def further(
    query: MemoryQuery, hits: Sequence[Hit], found: Sequence[Candidate], most: int, now: datetime, *, by_words: bool
) -> Further | None:
    """Whether `most` candidates of each kind may have been too few, and which others could be better.

    Near-duplicates may have left fewer hits than are wanted; and what is old or doubtful, and so cannot be among the
    hits, may have taken the place of what is not. It is no question of those that are only farther.
    """
    if len(found) < most:
        return None
    if len(hits) < query.limit:
        alike = query.distinct and ranked(replace(query, distinct=False), found, now, by_words=by_words)
        return Further(_WIDER * most) if alike and len(alike) > len(hits) else None
    sure, fresh = _factor(query.confidence, hits[-1].score), _factor(query.recency, hits[-1].score)
    if max(sure, fresh) >= 1:
        return None  # nobody can be better
    since = now - timedelta(seconds=min(_AGES_S, -query.half_life_s * log2(fresh))) if fresh > 0 else None
    hopeless = any(one.item.confidence < sure or (since is not None and _dated(one, now) < since) for one in found)
    return Further(most, max(0.0, sure), since) if hopeless else None


def _factor(weight: float, least: float) -> float:
    """How much of what is weighed an item must have, to score more if it is as near as can be."""
    return 1.0 - (1.0 - least) / weight + 1e-9 if weight else 0.0


def _dated(one: Candidate, now: datetime) -> datetime:
    return one.item.updated or one.item.created or now


def fused(*lists: Sequence[K]) -> list[K]:
    """One list of several, each the best first."""
    scores: dict[K, float] = {}
    for one in lists:
        for rank, key in enumerate(one, start=1):
            scores[key] = scores.get(key, 0.0) + 1.0 / (RRF + rank)
    return sorted(scores, key=lambda key: -scores[key])


def ranked(query: MemoryQuery, candidates: Sequence[Candidate], now: datetime, *, by_words: bool) -> list[Hit]:
    """The hits, best first; of equals the one that words and vector together find nearer, then the first of them."""
    wanted = terms(query.text)
    found: list[tuple[Hit, set[str]]] = []
    for one in candidates:
        there = set(words(one.item.text))
        hit = _scored(query, one, found_in(wanted, there), len(wanted), now, by_words)
        if hit.score > 0 and hit.score >= query.min_score:
            found.append((hit, there))
    found.sort(key=lambda pair: (-pair[0].score, -_both(pair[0].why)))
    hits: list[Hit] = []
    kept: list[set[str]] = []
    for hit, there in found:
        if query.distinct and any(_alike(there, other) for other in kept):
            continue
        hits.append(hit)
        kept.append(there)
        if len(hits) == query.limit:
            break
    return hits


def _scored(
    query: MemoryQuery, one: Candidate, has: tuple[str, ...], wanted: int, now: datetime, by_words: bool
) -> Hit:
    text = len(has) / wanted if wanted else 0.0
    told = [text] if by_words else []
    if one.cosine is not None:
        told.append(max(0.0, min(1.0, one.cosine)))
    near = one.reranked if one.reranked is not None else max(told, default=0.0)
    age = max(0.0, (now - _dated(one, now)).total_seconds())
    recency = 1.0 - query.recency * (1.0 - 0.5 ** (age / query.half_life_s))
    doubt = 1.0 - query.confidence * (1.0 - one.item.confidence)
    distance = None if one.cosine is None else 1.0 - max(-1.0, min(1.0, one.cosine))
    why = Why(has, text if by_words else None, distance, recency, doubt)
    return Hit(one.item, min(1.0, max(0.0, near * recency * doubt)), why)


def _both(why: Why) -> float:
    return (why.text or 0.0) - (1.0 if why.distance is None else why.distance)


def _alike(one: set[str], other: set[str]) -> bool:
    if not one or not other:
        return False
    return len(one & other) >= SAME * len(one | other)


async def reranked(reranker: Reranker | None, query: str, candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates with what a reranker says of them."""
    if reranker is None or not candidates:
        return list(candidates)
    said = await reranker.rerank(query, [one.item.text for one in candidates])
    if len(said) != len(candidates) or not all(0 <= one <= 1 for one in said):
        raise MemoryFailed("The reranker gave other than one number from 0 to 1 for each text.")
    return [replace(one, reranked=float(number)) for one, number in zip(candidates, said, strict=True)]


# -- vectors -----------------------------------------------------------------------------------------------------------


def unit(vector: Sequence[float], dim: int | None, model: str) -> list[float]:
    """The vector, one long. Raises: MemoryFailed: it is empty, not of finite numbers, or all 0. EmbedderMismatch."""
    length = len(vector)
    if dim is not None and length != dim:
        raise EmbedderMismatch(f"{dim} numbers", f"{model!r}, which gave one of {length}")
    square = sum(map(mul, vector, vector))
    if not length or not 0.0 < square < float("inf"):
        raise MemoryFailed(f"The embedder {model!r} gave a vector of {length} numbers that cannot be used: {square}.")
    size = square**0.5
    return [one / size for one in vector]


def dot(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of two vectors that are one long."""
    return float(sum(map(mul, one, other)))
