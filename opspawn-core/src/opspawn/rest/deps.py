"""What the routes share: the host, the idempotency key, and the refusal of query parameters that nobody reads."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Request

from opspawn.contracts.ids import KEY_PATTERN
from opspawn.contracts.transport import Host
from opspawn.rest.faults import unknown
from opspawn.rest.problems import invalid_request

#: The highest position that a store can give to an event.
MAX_POSITION = 2**63 - 1


def _host(request: Request) -> Host:
    host: Host = request.app.state.host
    return host


def known_query(request: Request) -> None:
    """Raise a problem for a parameter that the route does not take: a misspelt filter would find everything."""
    dependant = getattr(request.scope.get("route"), "dependant", None)
    known = {parameter.alias for parameter in dependant.query_params} if dependant is not None else set()
    names = [name for name in request.query_params if name not in known]
    if names:
        raise invalid_request([{"pointer": f"query/{name}", "detail": unknown(name, known)} for name in names])


HostDep = Annotated[Host, Depends(_host)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        description="The same key with the same request gives the task of the first time.",
        json_schema_extra={"pattern": f"^{KEY_PATTERN}$"},
    ),
]
