"""What the routes share: the host, and the idempotency key."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Request

from opspawn.contracts.transport import Host


def _host(request: Request) -> Host:
    host: Host = request.app.state.host
    return host


HostDep = Annotated[Host, Depends(_host)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1, max_length=200, description="The same key with the same request gives the task of the first time."
    ),
]
