"""What a client shows and answers to its server: who calls, and which folders are its roots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcp.types import ListRootsResult, Root
from pydantic import FileUrl

from opspawn_mcp.asking import Asker
from opspawn_mcp.auth import auth_of, check_sdk
from opspawn_mcp.connecting import Callbacks
from opspawn_mcp.sampling import Sampler
from opspawn_mcp.signing.settings import CodeConfig
from opspawn_mcp.tasks.begun import TasksExtension

if TYPE_CHECKING:
    import httpx2

    from opspawn_mcp.settings import McpConfig, ServerConfig
    from opspawn_mcp.signing.code import CodeSigner
    from opspawn_mcp.signing.settings import CredentialsConfig


class Answering:
    """What the servers of a configuration are shown and answered."""

    def __init__(self, config: McpConfig) -> None:
        """Take the configuration. Raises: ConfigError: the SDK is too old for one of its settings."""
        self._config = config
        self._root = config.root or Path.cwd()
        self._signed: dict[str, httpx2.Auth] = {}
        #: By the name of a server at which a person signs in.
        self.signers: dict[str, CodeSigner] = {}
        #: By the name of a server that may ask people, or have models asked.
        self.askers = {
            name: Asker(name, people=server.ask_people, sampler=_sampler(name, server))
            for name, server in config.servers.items()
            if server.ask_people or server.sampling is not None
        }
        for name, server in config.servers.items():
            if server.auth is not None and server.url is not None and server.enabled:
                # one for all connections: it keeps the token
                self._signed[name] = self._auth(name, server.url, server.auth)

    def callbacks(self, name: str) -> Callbacks:
        """For a new connection to a server."""
        folders = [(self._root / folder).resolve() for folder in self._config.servers[name].roots]
        options: dict[str, Any] = {"list_roots_callback": _telling(folders)} if folders else {}
        if self._config.servers[name].tasks:
            options["extensions"] = [TasksExtension()]
        asker = self.askers.get(name)
        if asker is not None and asker.people:
            options["elicitation_callback"] = asker.answer
        if asker is not None and asker.sampler is not None:
            options["sampling_callback"] = asker.sample
        return Callbacks(options, self._signed.get(name))

    def _auth(self, name: str, url: str, auth: CredentialsConfig | CodeConfig) -> httpx2.Auth:
        if not isinstance(auth, CodeConfig):
            return auth_of(name, url, auth)
        from opspawn_mcp.signing.opening import signer_of

        check_sdk(name)
        self.signers[name] = signer_of(name, self._config, auth)
        return self.signers[name]


def _sampler(name: str, server: ServerConfig) -> Sampler | None:
    return None if server.sampling is None else Sampler(name, server.sampling)


def _telling(folders: list[Path]) -> Callable[[Any], Any]:
    async def roots(context: Any) -> ListRootsResult:
        return ListRootsResult(roots=[Root(uri=FileUrl(folder.as_uri()), name=folder.name) for folder in folders])

    return roots
