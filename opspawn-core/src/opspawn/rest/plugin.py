"""Offers the REST transport; FastAPI is imported when it is opened, never before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field

from opspawn.contracts.plugins import PluginConfig, TransportPlugin
from opspawn.contracts.transport import Host, Transport
from opspawn.errors import PluginError
from opspawn.hookspecs import hookimpl


class RestConfig(PluginConfig):
    """The section `[plugins.rest]`."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    allow_public: bool = Field(
        False,
        description="Listen on other addresses than loopback. There is no authentication yet: put a proxy in front.",
    )
    max_body_bytes: int = Field(1024 * 1024, ge=1024, description="Largest request body that is accepted, in bytes.")
    max_depth: int = Field(64, ge=4, description="Deepest nesting of a JSON body that is accepted.")


@hookimpl
def opspawn_transports() -> Iterable[TransportPlugin]:
    """REST over HTTP."""
    yield TransportPlugin("rest", _open, RestConfig, "REST API over HTTP: agents, workflows, tasks, events.")


def _open(host: Host, config: Any) -> Transport:
    try:
        from opspawn.rest.transport import RestTransport
    except ImportError as error:
        raise PluginError(
            f"The REST transport needs {error.name or error}, which is not installed.",
            remedy='Install it: pip install "opspawn-core[server]".',
        ) from error
    return RestTransport(host, config)
