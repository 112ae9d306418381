"""Memories as JSON and back: in journals, on the wire, in exports."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from opspawn.contracts.clock import iso
from opspawn.contracts.filters import filter_from_json
from opspawn.contracts.memory import Hit, MemoryItem, MemoryQuery, MemoryStats, Provenance, Selection, Why
from opspawn.errors import InvalidInput

_SOURCE = ("source", "who", "agent", "run", "step", "session")
_ITEM = {"text", "namespace", "id", "metadata", "subject", "provenance", "confidence", "ttlS", "refresh"}
_TIMES = ("created", "updated", "expires")
_SELECT = {"namespace", "below", "ids", "subject", "session", "filter", "olderThanS"}
_QUERY = {"limit": "limit", "minScore": "min_score", "mode": "mode", "recency": "recency", "halfLifeS": "half_life_s"}
_QUERY |= {"confidence": "confidence", "distinct": "distinct"}


def item_to_json(item: MemoryItem) -> dict[str, Any]:
    """An item, without what is empty."""
    told = {name: value for name in _SOURCE if (value := getattr(item.provenance, name))}
    data: dict[str, Any] = {"id": item.id, "namespace": list(item.namespace), "text": item.text}
    rest = {
        "subject": item.subject,
        "metadata": dict(item.metadata),
        "provenance": told,
        "ttlS": item.ttl_s,
        "refresh": item.refresh,
    }
    data |= {name: value for name, value in rest.items() if value}
    data["confidence"] = item.confidence
    return data | {name: iso(time) for name in _TIMES if (time := getattr(item, name)) is not None}


def item_from_json(data: Any) -> MemoryItem:
    """The item. Raises: InvalidInput: it is none."""
    known = _object(data, "A memory", _ITEM | set(_TIMES))
    if "text" not in known or "namespace" not in known:
        raise InvalidInput("A memory has a text and a namespace.", remedy='{"text": "...", "namespace": ["user:ada"]}')
    told = _object(known.get("provenance") or {}, "A provenance", set(_SOURCE))
    picked: dict[str, Any] = {
        name: known[name] for name in ("id", "metadata", "subject", "confidence", "refresh") if name in known
    }
    picked |= {name: _time(name, known[name]) for name in _TIMES if known.get(name) is not None}
    namespace = known["namespace"]
    return MemoryItem(known["text"], namespace, provenance=Provenance(**told), ttl_s=known.get("ttlS"), **picked)


def hit_to_json(hit: Hit) -> dict[str, Any]:
    """A hit, with why it is one."""
    why: dict[str, Any] = {"words": list(hit.why.words), "text": hit.why.text, "distance": hit.why.distance}
    why |= {"recency": hit.why.recency, "confidence": hit.why.confidence}
    why = {name: round(value, 6) if isinstance(value, float) else value for name, value in why.items()}
    return {"score": round(hit.score, 6), "why": why, "item": item_to_json(hit.item)}


def hit_from_json(data: Mapping[str, Any]) -> Hit:
    """The hit, from a journal."""
    why = data["why"]
    told = Why(tuple(why["words"]), why["text"], why["distance"], why["recency"], why["confidence"])
    return Hit(item_from_json(data["item"]), data["score"], told)


def selection_from_json(data: Any) -> Selection:
    """What is selected. Raises: InvalidInput: it cannot be read."""
    known = _object(data, "A selection", _SELECT)
    if known.get("ids") == []:
        raise InvalidInput("ids is empty.", remedy="Name some, or leave it out, which means all.")
    below = known.get("below", False)
    if not isinstance(below, bool):
        raise InvalidInput(f"below is {below!r:.40}; true or false is meant.")
    return Selection(
        known.get("namespace", ()),
        below,
        known.get("ids") or (),
        known.get("subject"),
        known.get("session"),
        None if known.get("filter") is None else filter_from_json(known["filter"]),
        known.get("olderThanS"),
    )


def query_from_json(data: Any) -> MemoryQuery:
    """What is looked for: the members of a selection, and those of a query. Raises: InvalidInput."""
    known = _object(data, "A query", _SELECT | set(_QUERY) | {"query"})
    select = selection_from_json({name: value for name, value in known.items() if name in _SELECT})
    picked = {_QUERY[name]: value for name, value in known.items() if name in _QUERY}
    return MemoryQuery(known.get("query", ""), select, **picked)


def stats_to_json(stats: MemoryStats) -> dict[str, Any]:
    """How much there is."""
    spaces = [{"namespace": list(space), "items": count} for space, count in stats.namespaces]
    vectors = {"embedder": stats.embedder, "dim": stats.dim, "vectors": stats.vectors}
    return {"items": stats.items, "bytes": stats.bytes, **vectors, "namespaces": spaces}


def _object(data: Any, what: str, known: set[str]) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise InvalidInput(f"{what} is an object, not {data!r:.60}.")
    if unknown := sorted(data.keys() - known):
        raise InvalidInput(f"{what} has no member {unknown[0]!r:.60}.", remedy=f"Known: {', '.join(sorted(known))}.")
    return data


def _time(name: str, value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"{name} is {value!r:.60}; a time in ISO 8601 is meant.") from error
    if moment.tzinfo is None:
        raise InvalidInput(f"{name} is {value!r:.60}, which names no time zone.")
    return moment
