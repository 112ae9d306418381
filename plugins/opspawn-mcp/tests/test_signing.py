"""Signing in as a person: OAuth by authorization code, over HTTP, against the SDK's own authorization server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mcp.client.auth import OAuthFlowError
from pydantic import ValidationError
from starlette.responses import JSONResponse, RedirectResponse, Response

from opspawn.contracts.tool import ToolContext
from opspawn.errors import ConfigError
from opspawn_mcp import McpConfig, ServerConfig
from opspawn_mcp.faults import ServerFault
from opspawn_mcp.fleet import Fleet
from opspawn_mcp.signing.code import CodeSigner
from opspawn_mcp.signing.needed import SignInNeeded

from ._signing import browse, new_sdk, signing, table
from .servers.signing import Signing

NOBODY = ToolContext("", "helper")
KEY = "a key of the configuration, and long"
pytestmark = new_sdk


def fleet(folder: Path, one: dict[str, Any], key: str | None = KEY) -> Fleet:
    tokens = {} if key is None else {"encryption_key": key}
    return Fleet(McpConfig.model_validate({"servers": {"remote": one}, "tokens": tokens, "root": folder}))


def signer_of(made: Fleet) -> CodeSigner:
    signer = made.member("remote").signer
    assert signer is not None
    return signer


async def needed(made: Fleet) -> SignInNeeded:
    with pytest.raises(SignInNeeded) as raised:
        await made.member("remote").server.ready()
    return raised.value


async def sign_in(made: Fleet) -> None:
    await signer_of(made).complete(await browse((await needed(made)).address))


async def whoami(made: Fleet) -> Any:
    return await made.member("remote").tool("whoami").call({}, NOBODY)


async def test_somebody_signs_in_once_and_the_tokens_are_good_in_every_process(tmp_path: Path) -> None:
    async with signing() as server:
        one = table(server)
        first, second = fleet(tmp_path, one), fleet(tmp_path, one)
        await sign_in(first)
        said = [await whoami(first), await whoami(second)]
        await asyncio.gather(first.aclose(), second.aclose())

    assert said == [{"result": "ann"}, {"result": "ann"}]
    [code] = server.exchanged
    assert (code.resource, code.scopes) == (f"{server.url}/mcp", ["tools"])
    assert server.asked.count("/register") == 1


async def test_what_is_kept_is_sealed_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    async with signing() as server:
        made = fleet(tmp_path, table(server))
        address = (await needed(made)).address
        begun = (tmp_path / "mcp-tokens" / "remote.sealed").read_bytes()
        await signer_of(made).complete(await browse(address))
        await made.aclose()

    kept = tmp_path / "mcp-tokens" / "remote.sealed"
    (access,), (refresh,) = server.access, server.refresh
    for secret in (access, refresh, "verifier", "remote"):
        assert secret.encode() not in kept.read_bytes() + begun
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700


async def test_an_address_that_was_given_stays_good_and_another_process_may_end_the_sign_in(tmp_path: Path) -> None:
    async with signing() as server:
        one = table(server)
        first, second = fleet(tmp_path, one), fleet(tmp_path, one)
        addresses = [(await needed(made)).address for made in (first, first, second)]
        await signer_of(second).complete(await browse(addresses[0]))
        said = await whoami(first)
        await asyncio.gather(first.aclose(), second.aclose())

    assert len(set(addresses)) == 1
    assert said == {"result": "ann"}
    assert server.asked.count("/register") == 1


async def test_tokens_are_renewed_once_for_all_who_use_them(tmp_path: Path) -> None:
    """A refresh token is good for one use: of several that use it at once, all but one would be signed out."""
    async with signing() as server:
        one = table(server)
        fleets = [fleet(tmp_path, one) for _ in range(3)]
        server.lives_s = 1  # is over at once, since a token is renewed before it ends
        await sign_in(fleets[0])
        server.lives_s = 3600
        said = await asyncio.gather(*(whoami(made) for made in fleets))
        await asyncio.gather(*(made.aclose() for made in fleets))

    assert said == [{"result": "ann"}] * 3
    assert server.renewals == 1


async def test_a_token_that_the_server_does_not_take_any_more_is_renewed(tmp_path: Path) -> None:
    async with signing() as server:
        made = fleet(tmp_path, table(server))
        await sign_in(made)
        await whoami(made)
        server.end_access()
        said = await whoami(made)
        await made.aclose()

    assert (said, server.renewals) == ({"result": "ann"}, 1)


async def test_when_nothing_can_be_renewed_somebody_must_sign_in_again(tmp_path: Path) -> None:
    async with signing() as server:
        made = fleet(tmp_path, table(server))
        await sign_in(made)
        await whoami(made)
        server.end_access()
        server.refresh.clear()
        with pytest.raises(SignInNeeded) as raised:
            await whoami(made)
        await signer_of(made).complete(await browse(raised.value.address))
        said = await whoami(made)
        await made.aclose()

    assert (said, server.calls) == ({"result": "ann"}, 2)
    assert raised.value.remedy == "Run 'opspawn mcp login remote'."


async def test_an_authorization_server_that_is_away_costs_nobody_the_tokens(tmp_path: Path) -> None:
    async with signing() as server:
        made = fleet(tmp_path, table(server))
        await sign_in(made)
        await whoami(made)
        server.end_access()
        server.instead["/token"] = lambda request: Response(status_code=503)
        with pytest.raises(ServerFault, match="HTTP 503 when tokens were to be renewed"):
            await whoami(made)
        del server.instead["/token"]
        said = await whoami(made)
        await made.aclose()

    assert said == {"result": "ann"}


async def test_logging_out_forgets_the_tokens_here_and_there(tmp_path: Path) -> None:
    async with signing() as server:
        made = fleet(tmp_path, table(server))
        await sign_in(made)
        words = await signer_of(made).forget()
        again = await signer_of(made).forget()
        await made.aclose()

    assert words == "The tokens are forgotten here; the authorization server took them back."
    assert again == "Nobody was signed in."
    assert not server.refresh
    assert not (tmp_path / "mcp-tokens" / "remote.sealed").exists()


# -- what hostile servers do -------------------------------------------------------------------------------------------


def wrong_state(address: str) -> str:
    return address.replace("state=", "state=x")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (wrong_state, "another sign-in"),
        (lambda address: address.replace("127.0.0.1", "evil.example"), "must begin with http://127.0.0.1"),
        (lambda address: address.replace("/callback?", "/callback?access_token=stolen&"), "carries a token"),
        (lambda address: f"{address}#access_token=stolen", "carries a token"),
        (lambda address: f"{address}&iss=https://evil.example", "iss mismatch"),
        (lambda address: f"{address}&code=another", "something twice"),
        (lambda address: address.partition("&")[0].replace("code=", "kode="), "another sign-in"),
        (lambda address: "yes", "must begin with"),
    ],
)
async def test_an_address_that_does_not_fit_is_refused_and_the_sign_in_goes_on(
    tmp_path: Path, changed: Callable[[str], str], words: str
) -> None:
    async with signing() as server:
        made = fleet(tmp_path, table(server))
        ended = await browse((await needed(made)).address)
        with pytest.raises(OAuthFlowError, match=words) as raised:
            await signer_of(made).complete(changed(ended))
        exchanged = len(server.exchanged)
        await signer_of(made).complete(ended)
        await made.aclose()

    assert exchanged == 0
    assert "stolen" not in str(raised.value)


async def test_whoever_refuses_is_told_and_the_next_address_is_another(tmp_path: Path) -> None:
    async with signing() as server:
        server.refuses = "access_denied"
        made = fleet(tmp_path, table(server))
        first = (await needed(made)).address
        with pytest.raises(OAuthFlowError, match="refused: access_denied"):
            await signer_of(made).complete(await browse(first))
        server.refuses = None
        second = (await needed(made)).address
        await made.aclose()

    assert first != second


def described(server: Signing, **changes: Any) -> Any:
    """An authorization server's description of itself, with changes."""
    told = {
        "issuer": server.url,
        "authorization_endpoint": f"{server.url}/authorize",
        "token_endpoint": f"{server.url}/token",
        "registration_endpoint": f"{server.url}/register",
        "code_challenge_methods_supported": ["S256"],
        **changes,
    }
    return lambda request: JSONResponse(told)


METADATA = "/.well-known/oauth-authorization-server"
RESOURCE = "/.well-known/oauth-protected-resource/mcp"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"issuer": "https://evil.example"}, "issuer mismatch"),
        ({"code_challenge_methods_supported": None}, "does not offer PKCE"),
        ({"code_challenge_methods_supported": ["plain"]}, "does not offer PKCE"),
    ],
)
async def test_an_authorization_server_that_is_not_to_be_trusted_gets_nobody(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    async with signing() as server:
        server.instead[METADATA] = described(server, **changes)
        made = fleet(tmp_path, table(server))
        with pytest.raises(ServerFault, match=words):
            await made.member("remote").server.ready()
        await made.aclose()

    assert "/authorize" not in server.asked


async def test_a_server_is_bound_to_its_authorization_server(tmp_path: Path) -> None:
    """A server that is taken over could name another one, and have people type their passwords there."""
    async with signing() as server, signing() as evil:
        made = fleet(tmp_path, table(server))
        await sign_in(made)
        server.end_access()
        server.refresh.clear()
        told = {"resource": f"{server.url}/mcp", "authorization_servers": [evil.url]}
        server.instead[RESOURCE] = lambda request: JSONResponse(told)
        with pytest.raises(ServerFault, match="is bound to"):
            await made.member("remote").server.ready()
        await made.aclose()

    assert evil.asked == []


async def test_the_configured_authorization_server_is_the_only_one(tmp_path: Path) -> None:
    async with signing() as server:
        made = fleet(tmp_path, table(server, issuer="https://login.example.com"))
        with pytest.raises(ServerFault, match=r"is bound to https://login\.example\.com"):
            await made.member("remote").server.ready()
        await made.aclose()

    assert METADATA not in server.asked


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: RedirectResponse("https://evil.example/token", 307),
        lambda request: RedirectResponse("/token", 307),
        lambda request: JSONResponse({"access_token": 5, "echo": "the-code"}),
        lambda request: JSONResponse({"error": "the code was s3cr3t!"}, 400),
    ],
)
async def test_what_is_no_token_is_none_and_nothing_of_it_is_repeated(tmp_path: Path, answer: Any) -> None:
    async with signing() as server:
        server.instead["/token"] = answer
        made = fleet(tmp_path, table(server))
        with pytest.raises(OAuthFlowError, match="gave no tokens for the code") as raised:
            await sign_in(made)
        await made.aclose()

    assert not any(word in str(raised.value) for word in ("the-code", "s3cr3t", "evil"))
    assert server.asked.count("/token") == 1


async def test_an_endless_redirect_of_the_description_ends(tmp_path: Path) -> None:
    async with signing() as server:
        server.instead[RESOURCE] = lambda request: RedirectResponse(RESOURCE, 307)
        made = fleet(tmp_path, table(server))
        with pytest.raises(ServerFault):
            await asyncio.wait_for(made.member("remote").server.ready(), 30)
        await made.aclose()

    assert server.asked.count(RESOURCE) < 20


async def test_a_private_address_is_asked_for_nothing(tmp_path: Path) -> None:
    """A public server could name addresses within our network: they go through the same guard as all others."""
    async with signing() as server:
        one = {**table(server), "url": f"https://127.0.0.1:{server.url.rpartition(':')[2]}/mcp"}
        made = fleet(tmp_path, {**one, "allow_private": False})
        signer = signer_of(made)
        async with signer._client() as client:  # what it uses for requests of its own
            with pytest.raises(Exception, match="no public address"):
                await client.get(one["url"])
        with pytest.raises(ServerFault, match="no public address"):
            await made.member("remote").server.ready()
        await made.aclose()

    assert server.asked == []


# -- the key, and wrong settings ---------------------------------------------------------------------------------------


async def test_without_a_key_one_is_made_in_a_file_for_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    file = tmp_path / "home" / "opspawn" / "mcp-tokens.key"
    async with signing() as server:
        one = table(server)
        made = fleet(tmp_path, one, None)
        await sign_in(made)
        mode = file.stat().st_mode & 0o777
        file.chmod(0o644)
        with pytest.raises(ConfigError, match="open to others"):
            assert signer_of(fleet(tmp_path, one, None)).signed_in
        file.unlink()
        with pytest.raises(ConfigError, match="is gone"):
            assert signer_of(fleet(tmp_path, one, None)).signed_in
        await made.aclose()

    assert mode == 0o600


async def test_what_was_sealed_with_another_key_or_for_another_address_is_not_used(tmp_path: Path) -> None:
    async with signing() as server:
        one = table(server)
        made = fleet(tmp_path, one)
        await sign_in(made)
        await made.aclose()

    with pytest.raises(ConfigError, match="cannot be opened"):
        assert signer_of(fleet(tmp_path, one, KEY.upper())).signed_in
    assert not signer_of(fleet(tmp_path, {**one, "url": "http://127.0.0.1:1/mcp"})).signed_in


@pytest.mark.parametrize(
    ("auth", "words"),
    [
        ({"type": "device_code"}, "type is client_credentials or authorization_code"),
        ({"type": "authorization_code", "client_secret": "x" * 20}, "client_secret needs client_id and issuer"),
        ({"type": "authorization_code", "issuer": "ftp://x"}, "issuer"),
        ({"type": "authorization_code", "redirect_port": 80}, "redirect_port"),
        ({"type": "authorization_code", "password": "x"}, "password"),
    ],
)
def test_wrong_settings_are_refused(auth: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ServerConfig.model_validate({"url": "https://mcp.example.com/mcp", "auth": auth})


def test_nothing_secret_is_shown_of_the_settings() -> None:
    auth = {"type": "authorization_code", "client_id": "a", "client_secret": "hidden", "issuer": "https://a.example"}
    config = McpConfig.model_validate(
        {"servers": {"a": {"url": "https://a.example/mcp", "auth": auth}}, "tokens": {"encryption_key": KEY}}
    )

    assert "hidden" not in repr(config) + json.dumps(config.model_dump(mode="json"))
    assert KEY not in repr(config) + json.dumps(config.model_dump(mode="json"))
