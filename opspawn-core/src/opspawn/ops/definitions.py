"""Workflows that were stored under their names, beside those of the app. A version is its digest, and none is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from opspawn.contracts.events import NewEvent
from opspawn.contracts.lifecycle import Definition
from opspawn.contracts.store import Append, Batch, Page, Put, Query, Record, Store
from opspawn.errors import Conflict, InvalidInput, InvalidTransition, NotFound

if TYPE_CHECKING:
    from opspawn.ops.workflows import Workflow

KIND = "workflow-name"
#: The kind of record under which a definition is kept, by its digest, for the runs that began with it.
PINNED = "workflow"
#: The handler of runs whose definition came along with the request.
INLINE = "workflow/inline"
#: A definition that is used is written again after so long, in seconds, so that one can tell which are used no more.
REFRESH_S = 1800.0
MAX_VERSIONS = 1000
_RACES = 10


def is_old(pinned: Record) -> bool:
    """Whether a definition that is used again must be written again; see `REFRESH_S`."""
    return pinned.updated is None or (datetime.now(UTC) - pinned.updated).total_seconds() > REFRESH_S


class Definitions:
    """See `opspawn.contracts.lifecycle.Definitions`.

    Args:
        own: the app's workflows, by name.
        keep: checks a definition against what the app has, pins it, and returns it. Raises: InvalidInput.
        read: a pinned definition by its digest. Raises: NotFound.
    """

    def __init__(
        self,
        store: Store,
        own: Mapping[str, Workflow],
        keep: Callable[[Mapping[str, Any] | str], Awaitable[Workflow]],
        read: Callable[[str], Awaitable[Workflow]],
    ) -> None:
        self._store = store
        self._own = own
        self._keep = keep
        self._read = read

    async def create_workflow(self, template: Mapping[str, Any] | str) -> Definition:
        if not isinstance(template, Mapping | str):
            raise InvalidInput("A workflow is a mapping, or YAML or JSON text.")
        workflow = await self._keep(template)
        if workflow.name in self._own or workflow.name == "inline":
            raise InvalidTransition(
                f"The name {workflow.name!r} is that of a workflow of the app.", remedy="Give it another name."
            )
        for _ in range(_RACES):
            known = await self._store.get(KIND, workflow.name)
            versions = list(known.data["versions"]) if known is not None else []
            if versions and versions[-1] == workflow.digest:
                return await self.get(workflow.name)
            if len(versions) >= MAX_VERSIONS:
                raise InvalidTransition(
                    f"The workflow {workflow.name!r} has {MAX_VERSIONS} versions.", remedy="Give it another name."
                )
            versions = [*(digest for digest in versions if digest != workflow.digest), workflow.digest]
            told = NewEvent("workflow.created", {"workflow": workflow.name, "digest": workflow.digest})
            try:
                await self._store.commit(
                    Batch(
                        [
                            Put(
                                Record(KIND, workflow.name, {"versions": versions}),
                                expect=known.version if known is not None else 0,
                            ),
                            Append(None, told),
                        ]
                    )
                )
            except Conflict:
                continue
            return await self.get(workflow.name)
        raise Conflict(f"The workflow {workflow.name!r} is stored by others at the same time; try again.")

    async def current(self, id: str) -> Workflow | None:
        """The newest version of a stored workflow, compiled; None if there is none of that name."""
        record = await self._store.get(KIND, id)
        return None if record is None else await self._read(record.data["versions"][-1])

    async def get(self, id: str) -> Definition:
        if id in self._own:
            own = self._own[id]
            return Definition(id, own.digest, (own.digest,), own.definition)
        record = await self._store.get(KIND, id)
        if record is None:
            raise NotFound("workflow", id, remedy="See 'opspawn workflows list'.")
        return await self._shown(record)

    async def find(self, *, limit: int = 50, cursor: str | None = None) -> Page[Definition]:
        page = await self._store.find(KIND, Query(limit=limit, cursor=cursor))
        return Page([await self._shown(record) for record in page.items], page.cursor)

    async def _shown(self, record: Record) -> Definition:
        versions = record.data["versions"]
        workflow = await self._read(versions[-1])
        return Definition(record.id, versions[-1], tuple(versions), workflow.definition, record.updated)
