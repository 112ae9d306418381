"""A sign-in that has begun: the address for the browser, and what its end needs."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import urlencode

from opspawn_mcp.signing.settings import CodeConfig
from opspawn_mcp.signing.way import Way, proof


def pending_of(way: Way, config: CodeConfig, former: dict[str, Any] | None) -> dict[str, Any]:
    """What the way asks for, as a sign-in; the former one, where it asks for the same, so that an address somebody
    was given stays good.
    """
    context = way.context
    assert context.client_info is not None
    assert context.oauth_metadata is not None
    asked = {
        "response_type": "code",
        "client_id": context.client_info.client_id,
        "redirect_uri": config.redirect_uri,
        "code_challenge_method": "S256",
    }
    if context.should_include_resource_param(context.protocol_version):
        asked["resource"] = context.get_resource_url()
    scope = config.scope or context.client_metadata.scope
    if scope:
        asked["scope"] = scope
        if "offline_access" in scope.split():
            asked["prompt"] = "consent"
    endpoint = str(context.oauth_metadata.authorization_endpoint)
    if former is not None and (former["asked"], former["endpoint"]) == (asked, endpoint):
        return former
    secret, state = proof(), secrets.token_urlsafe(32)
    query = urlencode({**asked, "state": state, "code_challenge": secret.code_challenge})
    return {
        "address": f"{endpoint}{'&' if '?' in endpoint else '?'}{query}",
        "asked": asked,
        "endpoint": endpoint,
        "redirect_uri": config.redirect_uri,
        "state": state,
        "verifier": secret.code_verifier,
        "scope": scope,
        "version": context.protocol_version,
        "found": way.found(),
    }
