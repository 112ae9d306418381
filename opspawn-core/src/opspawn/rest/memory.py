"""What agents remember, over HTTP."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from opspawn.agentkit.memory_json import (
    hit_to_json,
    item_from_json,
    item_to_json,
    query_from_json,
    selection_from_json,
    stats_to_json,
)
from opspawn.agentkit.memory_renewal import renew
from opspawn.contracts.filters import filter_from_json
from opspawn.contracts.memory import KEEP, Change, Selection
from opspawn.errors import InvalidInput, NotFound
from opspawn.rest.deps import HostDep, known_query
from opspawn.rest.schemas import Body
from opspawn.views import Wire

router = APIRouter(prefix="/v1/memory", tags=["memory"], dependencies=[Depends(known_query)])

Namespace = Annotated[list[str], Field(description='Whose memory, e.g. ["agent:helper", "user:ada"].')]
Part = Annotated[list[str], Query(description="A part of the namespace; repeat it for each part.")]


class ProvenanceView(Wire):
    """Where an item is from."""

    source: str = ""
    who: str = ""
    agent: str = ""
    run: str = ""
    step: str = ""
    session: str = ""


class ItemView(Wire):
    """One thing that is remembered."""

    id: str
    namespace: list[str]
    text: str
    subject: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)
    provenance: ProvenanceView = Field(default_factory=ProvenanceView)
    confidence: float
    ttl_s: float | None = None
    refresh: bool = False
    created: str | None = None
    updated: str | None = None
    expires: str | None = None


class ItemPage(Wire):
    """A page of items, newest first."""

    items: list[ItemView]
    cursor: str | None = Field(description="Give it as ?cursor= for the next page; null at the end.")


class WhyView(Wire):
    """Why an item was found."""

    words: list[str]
    text: float | None
    distance: float | None
    recency: float
    confidence: float


class HitView(Wire):
    """An item that was found; the score is from 0 to 1, higher is nearer."""

    score: float
    why: WhyView
    item: ItemView


class Hits(Wire):
    """What was found, best first."""

    hits: list[HitView]


class AddedView(Wire):
    """An item as it is kept now; `new` is false where it was there already."""

    new: bool
    item: ItemView


class AddedItems(Wire):
    """What was kept, in order."""

    items: list[AddedView]


class Forgotten(Wire):
    """How many items were forgotten."""

    forgotten: int


class Reembedded(Wire):
    """How many vectors were made, and how many others are gone."""

    made: int
    removed: int


class SpaceView(Wire):
    """How many items a namespace has."""

    namespace: list[str]
    items: int


class StatsView(Wire):
    """How much is kept."""

    items: int
    bytes: int | None
    embedder: str | None
    dim: int | None
    vectors: int
    namespaces: list[SpaceView]


class NewItem(Body):
    """Something to keep."""

    text: str
    namespace: Namespace
    id: str | None = Field(None, description="One that is there already in the namespace changes nothing.")
    subject: str | None = None
    metadata: dict[str, Any] | None = None
    provenance: dict[str, str] | None = None
    confidence: float | None = None
    ttl_s: float | None = None
    refresh: bool | None = None
    created: str | None = None
    updated: str | None = None
    expires: str | None = None


class AddRequest(Body):
    """Keep items, all or none."""

    items: list[NewItem] = Field(min_length=1, max_length=1000)
    duplicates: Literal["merge", "keep"] = "merge"


class Selecting(Body):
    """Which items: all that is given must fit."""

    namespace: Namespace = Field(default_factory=list)
    below: bool = Field(False, description="Whether namespaces that begin with it count, too.")
    ids: list[str] | None = None
    subject: str | None = None
    session: str | None = None
    filter: dict[str, Any] | None = Field(None, description='E.g. {"field": "kind", "eq": "fact"}.')
    older_than_s: float | None = None

    def told(self) -> dict[str, Any]:
        return self.model_dump(by_alias=True, exclude_none=True)


class SearchRequest(Selecting):
    """What is looked for."""

    query: str
    limit: int | None = None
    min_score: float | None = None
    mode: Literal["auto", "text", "vector", "hybrid"] | None = None
    recency: float | None = None
    half_life_s: float | None = None
    confidence: float | None = None
    distinct: bool | None = None


class ForgetRequest(Selecting):
    """What is forgotten. Everything in a namespace, or everywhere, only with `all`."""

    all: bool = False


class ChangeRequest(Body):
    """What is changed in an item; what is left out stays, `ttlS` null is never."""

    text: str | None = None
    subject: str | None = None
    metadata: dict[str, Any] | None = None
    confidence: float | None = None
    ttl_s: float | None = None
    refresh: bool | None = None


@router.get("/items", operation_id="listMemories")
async def list_items(
    host: HostDep,
    namespace: Part = [],  # noqa: B006
    below: bool = True,
    subject: str | None = None,
    session: str | None = None,
    filter: Annotated[str | None, Query(description='As JSON, e.g. {"field": "kind", "eq": "fact"}.')] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> ItemPage:
    """Items, newest first; by default with those of namespaces that begin with the one given."""
    where = None if filter is None else filter_from_json(_json(filter))
    select = Selection(tuple(namespace), below, (), subject, session, where)
    page = await (await host.memory()).items(select, limit=limit, cursor=cursor)
    return ItemPage(items=[_view(item_to_json(item)) for item in page.items], cursor=page.cursor)


@router.post("/items", operation_id="addMemories", status_code=201)
async def add_items(request: AddRequest, host: HostDep) -> AddedItems:
    """Keep items. Give ids, so that a repeated request changes nothing."""
    items = [item_from_json(one.model_dump(by_alias=True, exclude_none=True)) for one in request.items]
    added = await (await host.memory()).add(items, duplicates=request.duplicates)
    return AddedItems(items=[AddedView(new=one.new, item=_view(item_to_json(one.item))) for one in added])


@router.get("/items/{id}", operation_id="getMemory")
async def get_item(id: str, host: HostDep, namespace: Part) -> ItemView:
    """One item of a namespace."""
    item = await (await host.memory()).get(tuple(namespace), id)
    if item is None:
        raise NotFound("memory", id)
    return _view(item_to_json(item))


@router.patch("/items/{id}", operation_id="changeMemory")
async def change_item(id: str, request: ChangeRequest, host: HostDep, namespace: Part) -> ItemView:
    """Change an item."""
    given = {name: getattr(request, name) for name in request.model_fields_set}
    change = Change(**{name: KEEP if value is None and name != "ttl_s" else value for name, value in given.items()})
    return _view(item_to_json(await (await host.memory()).update(tuple(namespace), id, change)))


@router.post("/search", operation_id="searchMemories")
async def search(request: SearchRequest, host: HostDep) -> Hits:
    """What is nearest to a query, best first."""
    hits = await (await host.memory()).search(query_from_json(request.told()))
    return Hits(hits=[HitView.model_validate(hit_to_json(hit)) for hit in hits])


@router.post("/forget", operation_id="forgetMemories")
async def forget(request: ForgetRequest, host: HostDep) -> Forgotten:
    """Forget items for good."""
    select = selection_from_json({name: value for name, value in request.told().items() if name != "all"})
    if not request.all and not select.chosen:
        raise InvalidInput("Nothing says what to forget.", remedy='Give ids, a subject, ..., or "all": true.')
    return Forgotten(forgotten=await (await host.memory()).forget(select))


@router.post("/compact", operation_id="compactMemory", status_code=204)
async def compact(host: HostDep) -> None:
    """Make the memory small and quick; answers when that is done."""
    await (await host.memory()).compact()


@router.post("/reembed", operation_id="reembedMemory")
async def reembed(host: HostDep) -> Reembedded:
    """Give all items vectors of the embedder that is configured now, or none without one; answers when that is done."""
    renewed = await renew(await host.memory())
    return Reembedded(made=renewed.made, removed=renewed.removed)


@router.get("/stats", operation_id="memoryStats")
async def stats(host: HostDep, namespace: Part = []) -> StatsView:  # noqa: B006
    """How much is kept, by namespace."""
    found = await (await host.memory()).stats(Selection(tuple(namespace), below=True))
    return StatsView.model_validate(stats_to_json(found))


def _view(data: dict[str, Any]) -> ItemView:
    return ItemView.model_validate(data)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"filter is no JSON: {error}.") from error
