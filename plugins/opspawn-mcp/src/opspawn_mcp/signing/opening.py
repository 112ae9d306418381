"""A signer for a server of the configuration."""

from __future__ import annotations

from pathlib import Path

import httpx2

from opspawn_mcp.http import guarded_client
from opspawn_mcp.settings import McpConfig
from opspawn_mcp.signing.code import CodeSigner
from opspawn_mcp.signing.settings import CodeConfig
from opspawn_mcp.signing.vault import Vault

#: How long an answer of an authorization server may be, in bytes.
_MOST_BYTES = 1 << 20


def signer_of(name: str, config: McpConfig, auth: CodeConfig) -> CodeSigner:
    """What signs the requests to a server, and signs people in there."""
    server = config.servers[name]
    assert server.url is not None

    def client() -> httpx2.AsyncClient:
        return guarded_client(
            {},
            allow_private=server.allow_private,
            most_bytes=_MOST_BYTES,
            connect_timeout_s=server.connect_timeout_s,
        )

    vault = Vault(config.tokens, config.root or Path.cwd())
    return CodeSigner(name, server.url, auth, vault, allow_private=server.allow_private, client=client)
