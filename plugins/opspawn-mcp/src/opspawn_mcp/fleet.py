"""`Fleet`: all servers of a configuration, each by itself, and what stands around them: pins, policies, limits."""

from __future__ import annotations

import asyncio
import difflib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from loguru import logger

from opspawn.errors import ConfigError, InvalidInput, NotFound
from opspawn_mcp.asking import Asker
from opspawn_mcp.audit.audit import Audit
from opspawn_mcp.callbacks import Answering
from opspawn_mcp.calling import Calls
from opspawn_mcp.listing import Definition
from opspawn_mcp.pins import Pins
from opspawn_mcp.policy import ServerPolicy
from opspawn_mcp.resources import check_uri
from opspawn_mcp.server import Server
from opspawn_mcp.settings import McpConfig, ServerConfig
from opspawn_mcp.signing.code import CodeSigner
from opspawn_mcp.standing import Standing, standing
from opspawn_mcp.tools import McpTool


class Member:
    """A server within its fleet."""

    def __init__(
        self,
        name: str,
        config: ServerConfig,
        server: Server,
        pins: Pins,
        asker: Asker | None = None,
        signer: CodeSigner | None = None,
        audit: Audit | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self.server = server
        self.pins = pins
        self.policy = ServerPolicy(name, config)
        self.signer = signer
        self.audit = audit
        self.calls = Calls(server, asker, signer)
        self._warned: set[str] = set()
        self._standings: dict[str, Standing] = {}
        self._basis: tuple[object, object] = (None, None)

    @property
    def known(self) -> bool:
        """Whether the server has told its tools."""
        return self.server.connects > 0

    def names(self) -> list[str]:
        """The tools that the server has, as far as it has told or somebody has approved them; in order."""
        return sorted({*self.server.tools, *(() if self.known else self.pins.of(self.name))})

    def standing(self, tool: str, *, look: bool = True) -> Standing:
        """How a tool stands now; without `look`, by the pins as seen last. Raises: ConfigError: of the pins."""
        pins = self.pins.all() if look else self.pins.seen
        if self._basis[0] is not self.server.tools or self._basis[1] is not pins:
            self._basis, self._standings = (self.server.tools, pins), {}
        found = self._standings.get(tool)
        if found is None:
            found = standing(self.name, self.config, tool, self.listed(tool), pins, known=self.known)
            if found.definition is not None:  # else a model could think of ever more names
                self._standings[tool] = found
        return found

    def listed(self, tool: str) -> Definition | None:
        """What the server says of a tool."""
        return self.server.tools.get(tool)

    def tool(self, tool: str) -> McpTool:
        """A tool, whatever its standing."""
        return McpTool(self, tool, self.standing(tool))

    def look(self) -> None:
        """Warn of tools that are held back, once for each definition."""
        for definition in self.server.tools.values():
            found = self.standing(definition.name)
            if found.status in ("new", "changed", "shadows") and definition.digest not in self._warned:
                self._warned.add(definition.digest)
                logger.bind(plugin="mcp", server=self.name, tool=definition.name, error_type="denied").warning(
                    "MCP tool {}/{} is held back: {}.", self.name, definition.name, found.why
                )


class Fleet:
    """The servers. Nothing is connected before somebody asks; belongs to one event loop."""

    def __init__(self, config: McpConfig) -> None:
        """Take the configuration. Raises: ConfigError: a command or folder is missing, a rule or the pins are wrong."""
        root = config.root or Path.cwd()
        self.pins = Pins(config.path_of_pins())
        self.pins.all()
        self.audit = Audit(config.audit, root)
        self.members: dict[str, Member] = {}
        answering = Answering(config)
        for name, one in config.servers.items():
            if one.enabled:
                _check(name, one, root)
                _check_context(name, one)
            server = Server(name, one, root, callbacks=answering.callbacks, on_tools=self._look)
            asker, signer = answering.askers.get(name), answering.signers.get(name)
            self.members[name] = Member(name, one, server, self.pins, asker, signer, self.audit)

    def member(self, name: str) -> Member:
        """A server by name. Raises: NotFound."""
        if name not in self.members:
            near = difflib.get_close_matches(name, self.members, n=1)
            raise NotFound(
                "MCP server", name, known=list(self.members), remedy=f"Did you mean {near[0]!r}?" if near else None
            )
        return self.members[name]

    async def connect(self, names: Iterable[str]) -> None:
        """Connect to servers beside each other, and return when each is there or has failed; failures are its own."""
        servers = [self.members[name].server for name in names]
        await asyncio.gather(*(server.ready() for server in servers), return_exceptions=True)

    async def aclose(self) -> None:
        """End all connections and their processes."""
        await asyncio.gather(*(member.server.aclose() for member in self.members.values()))
        await self.audit.aclose()

    def _look(self, name: str) -> None:
        self.members[name].look()


def _check(name: str, config: ServerConfig, root: Path) -> None:
    """Raises: ConfigError: the command or the folder of a server is not there."""
    if config.command is None:
        return
    place = f"plugins.mcp.servers.{name}"
    folder = root / (config.cwd or ".")
    if not folder.is_dir():
        raise ConfigError(
            f"{place}.cwd: there is no folder {str(folder)!r}.", remedy="Make it, or correct the setting."
        )
    path = config.env["PATH"].get_secret_value() if "PATH" in config.env else os.environ.get("PATH")
    local = folder / config.command if os.sep in config.command else None
    if shutil.which(str(local) if local is not None else config.command, path=path) is None:
        raise ConfigError(
            f"{place}.command: there is no program {config.command!r}.",
            remedy="Install it, correct the setting, or set enabled = false.",
        )


def _check_context(name: str, config: ServerConfig) -> None:
    """Raises: ConfigError: an address of a resource is none."""
    for number, one in enumerate(config.context):
        if one.resource is not None:
            try:
                check_uri(one.resource)
            except InvalidInput as error:
                place = f"plugins.mcp.servers.{name}.context.{number}.resource"
                raise ConfigError(f"{place}: {error.message}", remedy=error.remedy) from error
