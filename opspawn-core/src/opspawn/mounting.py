"""How the transports of a host meet: those that want to be served by another, and the one that serves them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

from opspawn.contracts.mounting import Carrier, Mountable
from opspawn.contracts.transport import Transport
from opspawn.errors import ConfigError


class Ways:
    """The transports of a host, by the names under which they are configured."""

    def __init__(self, transports: Mapping[str, Transport]) -> None:
        """Let those that can be served by another meet the first that serves. Raises: ConfigError: it refuses one."""
        self._transports = transports
        self._mounted: dict[str, Transport] = {}
        carrier = next((one for one in transports.values() if isinstance(one, Carrier)), None)
        for name, transport in transports.items():
            if carrier is None or transport is carrier or not isinstance(transport, Mountable):
                continue
            mount = transport.mount()
            if mount is not None:
                assert isinstance(carrier, Carrier)
                carrier.carry(mount)
                transport.mounted(carrier)
                self._mounted[name] = transport

    async def bind(self) -> None:
        """Let each take its address. Raises: ConfigError: it is not to be had, or two want the same."""
        taken: dict[str, str] = {}
        for name, transport in self._others().items():
            await transport.bind()
            place = urlsplit(transport.address).netloc
            if place and taken.setdefault(place, name) != name:
                raise self._clash(taken[place], name, place)
        for transport in self._mounted.values():
            await transport.bind()

    async def start(self) -> None:
        """Begin to serve; what is served by another is there before that one lets anybody in. Raises: ConfigError."""
        for transport in (*self._mounted.values(), *self._others().values()):
            await transport.start()

    async def stop(self) -> None:
        """End all, whatever one of them raises: first what is served by another, whose clients are answered yet."""
        await asyncio.gather(*(one.stop() for one in self._mounted.values()), return_exceptions=True)
        await asyncio.gather(*(one.stop() for one in self._others().values()), return_exceptions=True)

    def _others(self) -> dict[str, Transport]:
        return {name: one for name, one in self._transports.items() if name not in self._mounted}

    def _clash(self, one: str, other: str, place: str) -> ConfigError:
        remedy = "Give one of them another port"
        if served := [name for name in (one, other) if isinstance(self._transports[name], Mountable)]:
            remedy += f", or leave host and port of {served[-1]!r} out: it is then served at a path of the other"
        return ConfigError(f"The transports {one!r} and {other!r} both listen on {place}.", remedy=f"{remedy}.")
