"""The store by TLS: with a server that proves who it is, to a process that does so as well; and what is said if not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from pydantic import ValidationError

from opspawn.config.checks import build
from opspawn.contracts.events import Event
from opspawn.errors import ConfigError, StoreUnusable
from opspawn.testing.store_promises import claim, create, ids, step
from opspawn.testing.store_promises import commit as commit_to
from opspawn_store_redis import RedisConfig
from opspawn_store_redis.store import open_redis
from opspawn_store_redis.testing import RedisServer

#: What Python 3.13 asks of who signs.
_SIGNS = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


async def openssl(folder: Path, *words: str) -> None:
    made = await asyncio.create_subprocess_exec(
        "openssl", *words, cwd=folder, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    assert await made.wait() == 0


async def certify(folder: Path, name: str, shown: str) -> None:
    """Make NAME.pem and NAME.key, signed by ca.pem."""
    (folder / f"{name}.ext").write_text(f"subjectAltName={shown}\nauthorityKeyIdentifier=keyid\n")
    await openssl(
        folder, "req", *_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"
    )  # fmt: skip
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", f"{name}.ext", "-days", "2")
    await openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed)


@pytest.fixture
async def certificates(tmp_path: Path) -> Path:
    """A folder with those of a server on this machine, of a server elsewhere and of a client, and who signed them."""
    await openssl(
        tmp_path, "req", "-x509", *_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=ca",
        *_SIGNS,
    )  # fmt: skip
    # One after the other: who signs counts in a file.
    await certify(tmp_path, "here", "DNS:localhost,IP:127.0.0.1")
    await certify(tmp_path, "elsewhere", "DNS:elsewhere.example")
    await certify(tmp_path, "client", "DNS:client.example")
    return tmp_path


@asynccontextmanager
async def in_front_of(
    server: RedisServer, certificates: Path, *, shows: str = "here", asks: bool = False
) -> AsyncIterator[str]:
    """The server by TLS; its url. With `asks` it wants a certificate of who connects."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / f"{shows}.pem", certificates / f"{shows}.key")
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates / "ca.pem")
    passing: set[asyncio.Task[None]] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", server.port)
        for work in (pass_on(reader, outer), pass_on(inner, writer)):
            task = asyncio.create_task(work)
            passing.add(task)
            task.add_done_callback(passing.discard)

    listening = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    try:
        yield f"rediss://127.0.0.1:{listening.sockets[0].getsockname()[1]}/0"
    finally:
        listening.close()
        await asyncio.gather(*passing)


def by_tls(config: RedisConfig, url: str, certificates: Path, **more: object) -> RedisConfig:
    given = {"url": url, "tls_ca": str(certificates / "ca.pem"), "retry_s": 0, "timeout_s": 2, **more}
    return RedisConfig.model_validate({**config.model_dump(), **given})


def shown_by(name: str, certificates: Path) -> dict[str, object]:
    return {"tls_cert": str(certificates / f"{name}.pem"), "tls_key": str(certificates / f"{name}.key")}


async def refusal(config: RedisConfig) -> str:
    with pytest.raises(StoreUnusable) as caught:
        await (await open_redis(config)).aclose()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("asks", [False, True])
async def test_a_store_by_tls_commits_claims_and_is_followed(
    asks: bool, server: RedisServer, config: RedisConfig, certificates: Path
) -> None:
    async with in_front_of(server, certificates, asks=asks) as url:
        store = await open_redis(by_tls(config, url, certificates, **shown_by("client", certificates)))
        tail = store.tail()
        await create(store)
        (lease,) = await claim(store)
        await commit_to(store, step({"n": "x" * 100_000}, token=lease.token))
        async with asyncio.timeout(20):
            shown = [await anext(tail) for _ in range(2)]
        found = await asyncio.to_thread(asyncio.run, _state_of(store, "t1"))
        await store.aclose()

    assert ids([lease]) == ["t1"]
    assert [one.type for one in shown if isinstance(one, Event)] == ["task.claimed", "step.done"]
    assert found == "running"


async def _state_of(store: object, id: str) -> str:
    """From another event loop, so by the connections of threads."""
    task = await store.get_task(id)  # type: ignore[attr-defined]
    return str(task.state)


async def test_a_server_with_a_certificate_for_another_host_is_refused(
    server: RedisServer, config: RedisConfig, certificates: Path
) -> None:
    """Anybody may have one of those that the system trusts."""
    async with in_front_of(server, certificates, shows="elsewhere") as url:
        said = await refusal(by_tls(config, url, certificates))
        taken = await open_redis(by_tls(config, url, certificates, tls_check_hostname=False))
        await taken.aclose()

    assert "mismatch" in said
    assert "tls_check_hostname = false" in said


async def test_a_server_that_asks_for_a_certificate_is_told_apart_from_one_that_is_away(
    server: RedisServer, config: RedisConfig, certificates: Path
) -> None:
    other = certificates / "other"
    other.mkdir()
    await openssl(
        other, "req", "-x509", *_KEY, "-keyout", "own.key", "-out", "own.pem", "-days", "2", "-subj", "/CN=own"
    )
    async with in_front_of(server, certificates, asks=True) as url:
        without = await refusal(by_tls(config, url, certificates))
        unknown = await refusal(by_tls(config, url, certificates, **shown_by("own", other)))

    assert "as tls_cert and tls_key" in without
    assert "as tls_cert and tls_key" in unknown


async def test_files_that_do_not_fit_are_named_before_anything_is_connected(
    config: RedisConfig, certificates: Path
) -> None:
    """And no password is asked for on the terminal."""
    await openssl(certificates, "ec", "-in", "client.key", "-out", "locked.key", "-aes128", "-passout", "pass:geheim")
    client = str(certificates / "client.pem")
    wrong = {
        "key values mismatch": shown_by("client", certificates) | {"tls_key": str(certificates / "here.key")},
        "the key is encrypted": {"tls_cert": client, "tls_key": str(certificates / "locked.key")},
        "No such file": {"tls_cert": client, "tls_key": str(certificates / "none.key")},
        "tls_ca names": {"tls_ca": str(certificates / "here.key")},
    }

    said = {
        why: await refusal(by_tls(config, "rediss://127.0.0.1:1", certificates, **more)) for why, more in wrong.items()
    }

    assert [why for why, words in said.items() if why.lower() not in words.lower()] == []
    assert [words for words in said.values() if "In [plugins.redis], " not in words] == []


def test_a_certificate_without_its_key_is_refused() -> None:
    """redis-py would show none, without a word."""
    with pytest.raises(ValidationError, match="need each other"):
        RedisConfig(url="rediss://h", tls_cert="c.pem")
    with pytest.raises(ConfigError, match=r"plugins\.redis must be valid"):
        build(RedisConfig, {"url": "rediss://h", "tls_cert": "c.pem"}, prefix="plugins.redis.", origin=lambda key: "")
