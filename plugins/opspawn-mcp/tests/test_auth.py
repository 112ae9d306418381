"""Remote servers that ask for OAuth, and what a server is told of its roots."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from pydantic import ValidationError

from opspawn.contracts.tool import ToolContext
from opspawn.errors import ConfigError
from opspawn_mcp import ServerConfig
from opspawn_mcp.callbacks import Answering
from opspawn_mcp.faults import ServerFault
from opspawn_mcp.fleet import Fleet

from ._listening import listening
from ._plain import config_of
from ._signing import new_sdk
from .servers.guarded import Guarded

NOBODY = ToolContext("", "helper")
MakeFleet = Callable[..., Fleet]


@asynccontextmanager
async def guarded() -> AsyncIterator[tuple[str, Guarded]]:
    """A server that asks for a token, on a free port."""
    async with listening(Guarded) as made:
        yield made.url, made


def table(url: str, secret: str = "right", issuer: str | None = None) -> dict[str, Any]:
    auth = {"client_id": "opspawn", "client_secret": secret, "issuer": issuer or f"{url}/", "scope": "tools"}
    return {"url": f"{url}/mcp", "allow_private": True, "pin": "off", "auth": auth, "connect_timeout_s": 20}


@new_sdk
async def test_a_token_is_fetched_once_with_the_credentials_of_the_configuration(fleet_of: MakeFleet) -> None:
    async with guarded() as (url, server):
        fleet = fleet_of(others={"remote": table(url)})
        said = [await fleet.member("remote").tool("whoami").call({}, NOBODY) for _ in range(2)]
        await fleet.aclose()

    assert said[0] == said[1]
    assert "a client with a token" in str(said[0])
    assert server.asked == [("client_credentials", "tools", "opspawn:right")]


@new_sdk
async def test_credentials_that_are_refused_are_told_without_the_secret(fleet_of: MakeFleet) -> None:
    async with guarded() as (url, _):
        fleet = fleet_of(others={"remote": table(url, "not-the-one")})
        with pytest.raises(ServerFault) as raised:
            await fleet.member("remote").server.ready()
        await fleet.aclose()

    assert "remote" in str(raised.value)
    assert "not-the-one" not in str(raised.value)


@new_sdk
async def test_the_secret_is_sent_to_no_authorization_server_but_the_configured_one(fleet_of: MakeFleet) -> None:
    async with guarded() as (url, server):
        fleet = fleet_of(others={"remote": table(url, issuer="https://login.example.com")})
        with pytest.raises(ServerFault):
            await fleet.member("remote").server.ready()
        await fleet.aclose()

    assert server.asked == []


def test_an_sdk_that_cannot_hold_the_secret_to_its_issuer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClientCredentialsOAuthProvider, "__init__", lambda self, server_url, storage: None)

    with pytest.raises(ConfigError, match="may send the secret to whomever"):
        Answering(config_of(tmp_path, {"remote": table("http://127.0.0.1:1")}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"command": "true", "auth": table("http://127.0.0.1")["auth"]},
        {**table("http://127.0.0.1"), "headers": {"authorization": "Bearer x"}},
    ],
)
def test_what_cannot_go_together_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"auth"):
        ServerConfig.model_validate(wrong)


async def test_a_server_is_told_its_roots(tmp_path: Path) -> None:
    config = config_of(tmp_path, {"files": {"command": "true", "roots": ["notes", "."]}})

    told = await Answering(config).callbacks("files").client["list_roots_callback"](None)

    assert [str(root.uri) for root in told.roots] == [(tmp_path / "notes").as_uri(), tmp_path.as_uri()]
