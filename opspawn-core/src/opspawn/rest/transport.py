"""The HTTP server around the API."""

from __future__ import annotations

from opspawn.contracts.mounting import Mount
from opspawn.contracts.transport import Host
from opspawn.errors import ConfigError
from opspawn.rest.api import build_api, own_paths
from opspawn.rest.listening import Listener, is_loopback
from opspawn.rest.mounts import check_mount
from opspawn.rest.plugin import RestConfig


class RestTransport:
    """See `opspawn.contracts.transport.Transport`; and `opspawn.contracts.mounting.Carrier`."""

    def __init__(self, host: Host, config: RestConfig) -> None:
        self._host = host
        self._config = config
        self._listener = Listener(config.host, config.port, "plugins.rest")
        self._mounts: list[Mount] = []

    @property
    def address(self) -> str:
        return self._listener.address

    def carry(self, mount: Mount) -> None:
        check_mount(mount, own_paths(), self._mounts)
        self._mounts.append(mount)

    async def bind(self) -> None:
        if not is_loopback(self._config.host) and not self._config.allow_public:
            raise ConfigError(
                f"plugins.rest.host: {self._config.host} is no loopback address, and this server authenticates nobody.",
                remedy="Use 127.0.0.1, or set plugins.rest.allow_public = true behind a proxy that checks who calls.",
            )
        self._listener.bind()

    async def start(self) -> None:
        await self._listener.serve(build_api(self._host, self._config, self._mounts))

    async def stop(self) -> None:
        await self._listener.stop()
