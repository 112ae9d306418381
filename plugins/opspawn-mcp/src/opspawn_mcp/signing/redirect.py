"""The address at which a browser ends: what it says, if it is the one that we sent the browser to."""

from __future__ import annotations

import hmac
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mcp.client.auth import OAuthFlowError
from mcp.shared.auth import AuthorizationCodeResult

_LONGEST = 8192
#: What has no place in such an address: whoever sends it wants it logged.
_TOKENS = ("access_token", "id_token", "refresh_token")


def result_of(address: str, pending: dict[str, Any]) -> AuthorizationCodeResult:
    """The code and what goes with it. Raises: OAuthFlowError: it is no answer to this sign-in, or a refusal."""
    text = address.strip()
    if len(text) > _LONGEST:
        raise OAuthFlowError("the address is too long")
    given, wanted = urlsplit(text), urlsplit(pending["redirect_uri"])
    if (given.scheme, given.netloc, given.path) != (wanted.scheme, wanted.netloc, wanted.path):
        raise OAuthFlowError(f"the address must begin with {pending['redirect_uri']}?, where the browser was sent to")
    said = {**parse_qs(given.fragment), **(query := parse_qs(given.query))}
    if any(name in said for name in _TOKENS):
        raise OAuthFlowError("the address carries a token, which was not asked for; take it back where it came from")
    if any(len(values) > 1 for values in query.values()):
        raise OAuthFlowError("the address says something twice")
    state = query.get("state", [""])[0]
    if not hmac.compare_digest(state.encode(), str(pending["state"]).encode()):
        raise OAuthFlowError("the address answers another sign-in than this one (state)")
    if "error" in query:
        raise Refused(word(query["error"][0]))
    if "code" not in query:
        raise OAuthFlowError("the address carries no code")
    return AuthorizationCodeResult(code=query["code"][0], state=state, iss=query.get("iss", [None])[0])


class Refused(OAuthFlowError):
    """The authorization server, or whoever was asked there, said no."""

    def __init__(self, word: str) -> None:
        super().__init__(f"the authorization server refused: {word}")


def word(text: str) -> str:
    """An error code of OAuth; of anything else nothing is repeated."""
    return text if len(text) <= 40 and text.replace("_", "").isascii() and text.replace("_", "").isalnum() else "?"
