"""Taking an address, serving it, giving it back."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import httpx2
import pytest

from opspawn import App
from opspawn.config import load_settings
from opspawn.errors import ConfigError
from opspawn.host import Host
from opspawn.rest.plugin import RestConfig
from opspawn.rest.transport import RestTransport


def transport(host: Host, port: int = 0) -> RestTransport:
    return RestTransport(host, RestConfig(port=port))


def port_of(opened: RestTransport) -> int:
    return int(opened.address.rpartition(":")[2])


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


async def test_a_bound_address_is_known_and_not_served_yet(host: Host) -> None:
    bound = transport(host)

    await bound.bind()

    assert port_of(bound) > 0
    assert refuses(port_of(bound))
    await bound.stop()


async def test_a_started_transport_serves_until_it_is_stopped(host: Host) -> None:
    started = transport(host)
    await started.bind()
    await started.start()
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{started.address}/healthz")).status_code == 200
    port = port_of(started)

    await started.stop()
    await started.stop()

    assert refuses(port)


async def test_an_address_in_use_is_refused(host: Host) -> None:
    (other,) = host.transports
    port = int(other.address.rpartition(":")[2])

    with pytest.raises(ConfigError, match=rf"^Port {port} on 127\.0\.0\.1 is in use\. .*--port 0"):
        await transport(host, port).bind()


async def test_of_two_that_bound_the_same_address_at_once_one_is_refused(host: Host) -> None:
    first = transport(host)
    await first.bind()
    second = transport(host, port_of(first))
    await second.bind()
    await first.start()

    with pytest.raises(ConfigError, match=r"is in use"):
        await second.start()

    await second.stop()
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{first.address}/healthz")).status_code == 200
    await first.stop()


async def test_a_host_that_cannot_have_its_address_makes_no_database(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        loaded = load_settings(cwd=tmp_path, overrides={"plugins.rest.port": other.getsockname()[1]})
        with pytest.raises(ConfigError, match=r"is in use"):
            async with Host.open(App(), loaded=loaded, transports=True):
                raise AssertionError("it opened")

    assert os.listdir(tmp_path) == []


async def test_a_host_whose_store_cannot_be_opened_gives_its_address_back(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / ".opspawn").write_text("no folder")
    loaded = load_settings(cwd=tmp_path, overrides={"plugins.rest.port": port})
    with pytest.raises(Exception, match=r"cannot be opened"):
        async with Host.open(App(), loaded=loaded, transports=True):
            raise AssertionError("it opened")

    socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        (RestConfig(host="0.0.0.0"), r"0\.0\.0\.0 is no loopback address.*allow_public = true"),
        (RestConfig(host="192.0.2.1", port=0, allow_public=True), r"Cannot listen on 192\.0\.2\.1:0: .*this machine"),
    ],
    ids=["public", "not-ours"],
)
async def test_an_address_that_is_not_to_be_had_is_refused(host: Host, config: RestConfig, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        await RestTransport(host, config).bind()
