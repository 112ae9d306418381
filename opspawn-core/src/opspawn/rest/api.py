"""The FastAPI application, made anew for each host."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI

from opspawn.contracts.mounting import Mount
from opspawn.contracts.transport import Host
from opspawn.rest import (
    agents,
    approvals,
    health,
    memory,
    opscore,
    problems,
    questions,
    registry,
    run_stream,
    schedules,
    seeing,
    sessions,
    signals,
    store,
    stream,
)
from opspawn.rest.answers import JsonAnswer
from opspawn.rest.limits import Limits
from opspawn.rest.listening import is_loopback
from opspawn.rest.mounts import Mounts
from opspawn.rest.plugin import RestConfig
from opspawn.rest.schemas import ProblemView

_MODULES = (
    health,
    memory,
    agents,
    opscore,
    registry,
    sessions,
    schedules,
    seeing,
    signals,
    questions,
    approvals,
    store,
    stream,
    run_stream,
)

#: Every route, with what all of them share. FastAPI works out a route when it is first asked for: once for the process,
#: instead of for each host.
_ROUTES = APIRouter(
    default_response_class=JsonAnswer,
    responses={"4XX": {"model": ProblemView, "description": "A problem document."}},
)
for _module in _MODULES:
    _ROUTES.include_router(_module.router)


class _Api(FastAPI):
    """FastAPI, whose description of itself says under which media type the problems come."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            for path in super().openapi()["paths"].values():
                for operation in path.values():
                    content = operation["responses"]["4XX"]["content"]
                    content[problems.MEDIA_TYPE] = content.pop("application/json")
        return super().openapi()


def own_paths() -> set[str]:
    """The first parts of all paths of the API: below these, nothing else is served."""
    paths = [str(getattr(route, "path", "/")) for module in _MODULES for route in module.router.routes]
    return {path.split("/")[1] for path in (*paths, "/openapi.json")}


def build_api(host: Host, config: RestConfig, mounts: Sequence[Mount] = ()) -> FastAPI:
    """Return the API of a host, with what others have served by it. `/openapi.json` describes the API; pages that load
    scripts from elsewhere are left out.
    """
    api = _Api(
        title="Opspawn",
        version=version("opspawn-core"),
        summary="Agents and workflows that survive crashes.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        routes=_ROUTES.routes,
    )
    api.state.host = host
    local = is_loopback(config.host)
    api.add_middleware(Limits, max_body_bytes=config.max_body_bytes, max_depth=config.max_depth, local=local)
    if mounts:
        api.add_middleware(Mounts, mounts=mounts, config=config, local=local)
    problems.install(api)
    return api
