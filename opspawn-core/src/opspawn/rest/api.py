"""The FastAPI application, made anew for each host."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI

from opspawn.contracts.transport import Host
from opspawn.rest import agents, health, opscore, problems, stream
from opspawn.rest.limits import Limits
from opspawn.rest.plugin import RestConfig
from opspawn.rest.schemas import ProblemView


def build_api(host: Host, config: RestConfig) -> FastAPI:
    """Return the API of a host. Interactive pages that load scripts from elsewhere are left out; `/openapi.json` is there."""
    from opspawn.rest.transport import is_loopback

    api = FastAPI(
        title="Opspawn",
        version=version("opspawn-core"),
        summary="Agents and workflows that survive crashes.",
        docs_url=None,
        redoc_url=None,
        responses={"4XX": {"model": ProblemView, "description": "A problem document."}},
    )
    api.state.host = host
    for module in (health, agents, opscore, stream):
        api.include_router(module.router)
    problems.install(api)
    api.add_middleware(
        Limits,
        max_body_bytes=config.max_body_bytes,
        max_depth=config.max_depth,
        local=is_loopback(config.host),
    )
    return api
