"""A server at which people sign in, served on a free port, and the browser of somebody who does."""

from __future__ import annotations

import inspect
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider

from ._listening import listening
from .servers.signing import Signing

#: The oldest SDKs that we take cannot hold what is secret to its issuer; with them auth is refused, see test_auth.
new_sdk = pytest.mark.skipif(
    "issuer" not in inspect.signature(ClientCredentialsOAuthProvider).parameters,
    reason="this SDK cannot hold a secret to its issuer",
)


@asynccontextmanager
async def signing(port: int = 0) -> AsyncIterator[Signing]:
    """Both servers on one port."""
    async with listening(Signing, port) as made:
        yield made


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def table(made: Signing, **auth: Any) -> dict[str, Any]:
    """The table of the server in the configuration."""
    how = {"type": "authorization_code", "redirect_port": free_port(), **auth}
    return {
        "url": f"{made.url}/mcp",
        "allow_private": True,
        "pin": "off",
        "auth": how,
        "connect_timeout_s": 20,
    }


async def browse(address: str) -> str:
    """Where the browser of somebody who signs in ends."""
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
        answer = await client.get(address)
    assert answer.status_code in (302, 307), answer.text
    return str(answer.headers["location"])
