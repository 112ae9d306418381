"""`CodeSigner`: signs the requests to one server for a person who signed in, and signs that person in.

A request for which there are no tokens, or none that are good any more, ends with `SignInNeeded`, which says where to
sign in. Tokens are renewed by one process at a time, see `vault`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx2
from mcp.client.auth import OAuthFlowError, OAuthRegistrationError, OAuthTokenError
from mcp.shared.auth import OAuthToken
from pydantic import ValidationError

from opspawn.errors import ConfigError
from opspawn_mcp.faults import ServerFault
from opspawn_mcp.signing.needed import SignInNeeded
from opspawn_mcp.signing.pending import pending_of
from opspawn_mcp.signing.redirect import Refused, result_of, word
from opspawn_mcp.signing.settings import CodeConfig
from opspawn_mcp.signing.vault import Kept, Vault
from opspawn_mcp.signing.way import TIMES, Way

#: A token that ends so soon is renewed before it is used, in seconds.
_EARLY_S = 10.0
_VERSION = "mcp-protocol-version"
Flow = AsyncGenerator[httpx2.Request, httpx2.Response]


class CodeSigner(httpx2.Auth):
    """See the module. One per server and process.

    Attributes:
        fault: why the last request could not be signed; None once one was.
    """

    def __init__(
        self,
        server: str,
        url: str,
        config: CodeConfig,
        vault: Vault,
        *,
        allow_private: bool,
        client: Callable[[], httpx2.AsyncClient],
    ) -> None:
        """Take the server's name, address and settings, and what makes clients for requests of our own."""
        self.server = server
        self.url = url
        self.config = config
        self.fault: ServerFault | None = None
        self._vault = vault
        self._allow_private = allow_private
        self._client = client

    # -- signing requests ----------------------------------------------------------------------------------------------

    async def async_auth_flow(self, request: httpx2.Request) -> Flow:
        """Sign a request, renewing tokens first where that is due. Raises: SignInNeeded, ServerFault, ConfigError."""
        version = request.headers.get(_VERSION)
        kept, used = self._kept(), ""
        if _ends(kept):
            async with self._vault.lock(self.server):
                kept = self._kept()
                if _ends(kept) and (renewal := await self._way(kept, version).renewal()) is not None:
                    kept = await self._renewed(kept, (yield renewal))
        if kept.tokens is not None:
            used = _sign(request, kept)
            response = yield request
            if response.status_code == 401:
                async with self._vault.lock(self.server):
                    kept = self._kept()  # somebody else may have renewed them meanwhile
                    if _access(kept) == used and (renewal := await self._way(kept, version).renewal()) is not None:
                        kept = await self._renewed(kept, (yield renewal))
                if _access(kept) not in ("", used):
                    _sign(request, kept)
                    response = yield request
            if not self._wants_more(response):
                self.fault = None
                return
            if response.status_code == 401:
                kept = kept.with_(tokens=None, expires_at=None)
        request.headers.pop("Authorization", None)
        way = self._way(kept, version)
        driven = self._driven(way, way.async_auth_flow(request), request)
        try:
            outgoing = await anext(driven)
            while True:
                outgoing = await driven.asend((yield outgoing))
        except StopAsyncIteration:
            self.fault = None
        finally:
            await driven.aclose()

    async def _driven(self, way: Way, flow: Flow, request: httpx2.Request) -> Flow:
        """The SDK's own way, up to the point at which a person is needed. Raises: SignInNeeded, ServerFault."""
        try:
            outgoing = await anext(flow)
            while outgoing is not way.parked:
                if outgoing is not request:
                    outgoing.extensions["timeout"] = TIMES
                outgoing = await flow.asend((yield outgoing))
        except StopAsyncIteration:
            return
        except (OAuthFlowError, OAuthRegistrationError, OAuthTokenError) as error:
            fault = ServerFault(self.server, f"nobody can sign in: {error}", error_type="denied")
            raise self._failed(fault) from error
        finally:
            await flow.aclose()
        raise self._failed(SignInNeeded(self.server, await self._begun(way)))

    async def _renewed(self, kept: Kept, response: httpx2.Response) -> Kept:
        """What is kept from now on; without tokens, if they cannot be renewed. Raises: ServerFault: not now."""
        await response.aread()
        status = response.status_code
        if status == 429 or status >= 500:
            words = f"its authorization server answered with HTTP {status} when tokens were to be renewed"
            raise self._failed(ServerFault(self.server, words, error_type="transient"))
        tokens = _tokens_in(response) if status == 200 else None
        if tokens is not None:  # what is left out stays as it was
            before = OAuthToken.model_validate(kept.tokens)
            tokens.scope = tokens.scope or before.scope
            tokens.refresh_token = tokens.refresh_token or before.refresh_token
        kept = _with_tokens(kept, tokens)
        self._vault.write(self.server, self.url, kept)
        return kept

    def _failed(self, fault: ServerFault) -> ServerFault:
        """Note a fault, which the SDK tells callers as a lost connection."""
        self.fault = fault
        return fault

    def _wants_more(self, response: httpx2.Response) -> bool:
        """Whether a person must sign in, or allow more: the latter, unless the configuration says what is asked for."""
        if response.status_code == 403 and self.config.scope is None:
            return "insufficient_scope" in response.headers.get("www-authenticate", "")
        return response.status_code == 401

    # -- signing in ----------------------------------------------------------------------------------------------------

    @property
    def signed_in(self) -> bool:
        """Whether there are tokens. Raises: ConfigError."""
        return self._kept().tokens is not None

    async def complete(self, address: str) -> None:
        """End a sign-in, with the address at which the browser has ended; nothing, if somebody else did.

        Raises: OAuthFlowError: it does not fit, or was refused; says why, without anything secret. httpx2.HTTPError.
            ConfigError.
        """
        async with self._vault.lock(self.server):
            kept = self._kept()
            if (pending := kept.pending) is None:
                if kept.tokens is not None:
                    return
                raise OAuthFlowError("no sign-in has begun, or it has ended")
            try:
                result = result_of(address, pending)
            except Refused:
                self._vault.write(self.server, self.url, kept.with_(pending=None))
                raise
            way = self._way(kept.with_(**pending["found"]), pending["version"])
            exchange = await way.exchange(result, pending["verifier"])
            async with self._client() as client:
                response = await client.send(exchange, follow_redirects=False)
            after = kept.with_(pending=None)  # a code is good for one use, whatever came of it
            tokens = _tokens_in(response) if response.status_code in (200, 201) else None
            if tokens is not None:
                tokens.scope = tokens.scope or pending["scope"]
                issuer = pending["found"]["metadata"]["issuer"]
                after = _with_tokens(after.with_(**pending["found"], issuer=issuer), tokens)
                self.fault = None
            self._vault.write(self.server, self.url, after)
        if tokens is None:
            raise OAuthFlowError(f"the authorization server gave no tokens for the code: {_refusal(response)}")

    async def _begun(self, way: Way) -> str:
        """The address for the browser; what the end needs is put down. Raises: ConfigError."""
        async with self._vault.lock(self.server):
            kept = self._kept()
            pending = pending_of(way, self.config, kept.pending)
            if pending is not kept.pending:
                client = pending["found"]["client"]
                self._vault.write(self.server, self.url, kept.with_(pending=pending, client=client))
        return str(pending["address"])

    async def forget(self) -> str:
        """Keep nothing more of the server, and have the authorization server forget the tokens; says what it did."""
        async with self._vault.lock(self.server):
            try:
                kept = self._kept()
            except ConfigError:
                return "What was kept cannot be read, and is removed; the authorization server was not told."
            finally:
                self._vault.forget(self.server)
        if kept.tokens is None:
            return "Nobody was signed in."
        endpoint = (kept.metadata or {}).get("revocation_endpoint")
        if endpoint is None:
            return "The tokens are forgotten here; the authorization server has no way to be told."
        way, token = self._way(kept, None), kept.tokens.get("refresh_token") or _access(kept)
        client = way.context.client_info
        # An empty secret means none (RFC 6749 2.3.1), and the SDK's own servers insist on the member.
        data = {"token": token, "client_id": client.client_id if client else "", "client_secret": ""}
        data, headers = way.context.prepare_token_auth(data, {})
        try:
            async with self._client() as http:
                told = await http.post(endpoint, data=data, headers=headers, timeout=TIMES["read"])
        except httpx2.HTTPError as error:
            return f"The tokens are forgotten here; the authorization server was not reached: {error}"
        done = "took them back" if told.status_code == 200 else f"answered with HTTP {told.status_code}"
        return f"The tokens are forgotten here; the authorization server {done}."

    def _kept(self) -> Kept:
        return self._vault.read(self.server, self.url)

    def _way(self, kept: Kept, version: str | None) -> Way:
        return Way(self.url, self.config, kept, version, allow_private=self._allow_private)


def _sign(request: httpx2.Request, kept: Kept) -> str:
    token = _access(kept)
    request.headers["Authorization"] = f"Bearer {token}"
    return token


def _access(kept: Kept) -> str:
    return "" if kept.tokens is None else str(kept.tokens["access_token"])


def _ends(kept: Kept) -> bool:
    return kept.tokens is not None and kept.expires_at is not None and time.time() > kept.expires_at - _EARLY_S


def _with_tokens(kept: Kept, tokens: OAuthToken | None) -> Kept:
    if tokens is None:
        return kept.with_(tokens=None, expires_at=None)
    ends = None if tokens.expires_in is None else time.time() + tokens.expires_in
    return kept.with_(tokens=tokens.model_dump(mode="json", exclude_none=True), expires_at=ends)


def _tokens_in(response: httpx2.Response) -> OAuthToken | None:
    """The tokens of an answer; an error of pydantic would repeat them, so there is none."""
    try:
        return OAuthToken.model_validate_json(response.content)
    except ValidationError:
        return None


def _refusal(response: httpx2.Response) -> str:
    """Why, in a word of OAuth: the rest of an answer may hold what it was sent."""
    if response.is_redirect:
        return f"HTTP {response.status_code}, a redirect, which is not followed"
    try:
        said: Any = response.json()
        return f"HTTP {response.status_code} {word(str(said['error']))}"
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code}"
