"""What is written wrongly in a section is refused by name, with the remedy, and never taken for something else."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis
from loguru import logger
from pydantic import ValidationError

from opspawn.errors import StoreUnusable
from opspawn_store_redis import RedisConfig, rights
from opspawn_store_redis.calls import Calls
from opspawn_store_redis.faults import ALLOWED, as_store_error
from opspawn_store_redis.following import Deltas
from opspawn_store_redis.store import open_redis
from opspawn_store_redis.testing import RedisServer


async def refusal(config: RedisConfig) -> str:
    with pytest.raises(StoreUnusable) as caught:
        await (await open_redis(config)).aclose()
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://127.0.0.1:6379/O", 'and not with "/O"'),
        ("redis://127.0.0.1:79o1/0", "a number from 1 to 65535"),
        ("redis://127.0.0.1:70000/0", "a number from 1 to 65535"),
        ("redis://127.0.0.1:6379?db=x", 'and not "x"'),
        ("unix:///run/redis.sock?db=one", 'and not "one"'),
        ("redis://me:1/2@127.0.0.1:6379/0", "or set password"),
        ("redis://me:1#2@127.0.0.1:6379/0", "or set password"),
    ],
)
def test_a_misprint_in_the_url_is_no_other_database(url: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        RedisConfig(url=url)


@pytest.mark.parametrize(
    "url", ["redis://h", "redis://h:1/", "redis://u:p@[::1]:1/15", "rediss://h/3?db=3", "unix:///run/a.sock?db=0"]
)
def test_what_is_right_is_taken(url: str) -> None:
    assert RedisConfig(url=url).url == url


async def test_an_option_that_there_is_none_of_is_named(server: RedisServer) -> None:
    said = await refusal(RedisConfig(url=f"{server.url}?socket_timout=3", durability="none"))

    assert "url in [plugins.redis] has 'socket_timout' after" in said


async def test_a_database_that_the_server_has_not_is_named(server: RedisServer) -> None:
    said = await refusal(RedisConfig(url=server.url.replace("/0", "/99"), durability="none"))

    assert "no database of that number. Correct the end of url in [plugins.redis]" in said


async def test_nothing_is_said_of_writes_where_nothing_was_written() -> None:
    said = await refusal(RedisConfig(url="redis://127.0.0.1:1/0", retry_s=0))

    assert said.endswith("Start it, or correct url in [plugins.redis].")


@asynccontextmanager
async def speaking_tls(folder: Path) -> AsyncIterator[str]:
    """A server that shakes hands by a certificate of its own, and says no more; its host and port."""
    made = await asyncio.create_subprocess_exec(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"), "-days", "2", "-subj", "/CN=other",
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert await made.wait() == 0
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    listening = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with listening:
        yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"


async def test_tls_that_does_not_come_about_names_its_setting(server: RedisServer, tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("none")
    async with speaking_tls(tmp_path) as place:
        unknown = await refusal(RedisConfig(url=f"rediss://{place}", retry_s=0))
        broken = await refusal(RedisConfig(url=f"rediss://{place}", retry_s=0, tls_ca=str(tmp_path / "no.pem")))
        plain = await refusal(RedisConfig(url=f"redis://{place}", retry_s=0))
    none = RedisConfig(url=server.url.replace("redis:", "rediss:"), retry_s=0, timeout_s=0.3)
    speaks_none = await refusal(none)

    assert "as tls_ca in [plugins.redis] (now the system's certificates" in unknown
    assert "In [plugins.redis], tls_ca names" in broken
    assert 'write "rediss://"' in plain
    assert 'write "redis://"' in speaks_none


@pytest.mark.parametrize("lacking", ["-fcall", "-time", "-info"])
async def test_a_user_who_lacks_a_right_is_told_all_that_it_takes(
    lacking: str, server: RedisServer, config: RedisConfig
) -> None:
    """Also a right that only a function of ours makes use of."""
    store = await open_redis(config)
    await store._calls.command("ACL", "SETUSER", "less", "reset", "on", ">secret", *ALLOWED.split(), lacking)
    await store.aclose()

    said = await refusal(RedisConfig.model_validate({**config.model_dump(), "username": "less", "password": "secret"}))

    assert "may not do this" in said
    assert f'Allow it "{ALLOWED}"' in said


def test_all_that_the_functions_use_is_asked_for() -> None:
    names = {command.split()[0] for command in rights.used()}

    assert {"XADD", "RPUSH", "XREVRANGE", "PUBSUB", "TIME"} <= names  # of `call`, of `in_pieces`, of a variable


def test_rights_are_asked_for_by_commands_that_are_whole(server: RedisServer) -> None:
    """Some servers, as Redis 8.0 of Debian, judge no others."""
    with redis.Redis.from_url(server.url) as client:  # type: ignore[no-untyped-call]
        for asked in rights.used():
            name, *words = asked.split()
            (about,) = client.execute_command("COMMAND", "INFO", name).values()  # type: ignore[no-untyped-call]
            takes = about["arity"]

            assert len(words) + 1 == takes or (takes < 0 and len(words) + 1 >= -takes), asked


@pytest.mark.parametrize(
    ("lacking", "named"),
    [
        ("-xadd -publish", "PUBLISH, XADD"),
        ("-xrevrange", "XREVRANGE"),
        ("-xread", "XREAD"),
        ("resetchannels", "PUBLISH"),
    ],
)
async def test_a_right_that_is_lacking_is_named_at_the_start_before_anything_is_written(
    lacking: str, named: str, server: RedisServer, config: RedisConfig
) -> None:
    with redis.Redis.from_url(server.url) as client:  # type: ignore[no-untyped-call]
        client.execute_command("ACL", "SETUSER", "half", "reset", "on", ">secret", *ALLOWED.split(), *lacking.split())  # type: ignore[no-untyped-call]
        said = await refusal(
            RedisConfig.model_validate({**config.model_dump(), "username": "half", "password": "secret"})
        )
        left = client.keys(f"osp:{{{config.namespace}}}:*")

    assert f"may not do this on the keys and channels osp:{{{config.namespace}}}:*: {named}. Allow it" in said
    assert left == []


@pytest.mark.parametrize(("lacking", "level"), [("-xadd", "error"), ("-subscribe", "warning"), ("+get", "ok")])
async def test_a_right_that_was_taken_away_is_found_by_an_operator(
    lacking: str, level: str, server: RedisServer, config: RedisConfig
) -> None:
    with redis.Redis.from_url(server.url) as client:  # type: ignore[no-untyped-call]
        client.execute_command("ACL", "SETUSER", "once", "reset", "on", ">secret", *ALLOWED.split())  # type: ignore[no-untyped-call]
        named = RedisConfig.model_validate({**config.model_dump(), "username": "once", "password": "secret"})
        store = await open_redis(named)
        client.execute_command("ACL", "SETUSER", "once", lacking)  # type: ignore[no-untyped-call]
        found = await store.check()
        await store.aclose()
    told = [finding for finding in found if "may not do this" in finding.what]

    assert [finding.level for finding in told] == ([] if level == "ok" else [level])
    assert all(lacking.strip("-").upper() in finding.what and ALLOWED in str(finding.remedy) for finding in told)


def test_a_right_that_a_function_lacks_is_told_of_in_the_words_of_redis_70_too() -> None:
    """That server gives it no code of its own."""
    said = "The user executing the script can't run this command or subcommand script: x, on @user_function:75."

    fault = as_store_error(redis.exceptions.ResponseError(said), RedisConfig())

    assert f'Allow it "{ALLOWED}"' in str(fault)


async def test_a_user_who_may_not_hear_is_told_of_once(server: RedisServer, config: RedisConfig) -> None:
    """With what to allow, and the process goes on."""
    told: list[str] = []
    sink = logger.add(lambda message: told.append(message.record["message"]), level="WARNING")
    store = await open_redis(config)
    rules = ("~osp:*", "resetchannels", "+@all", "-@dangerous", "+info", "+config|get")
    await store._calls.command("ACL", "SETUSER", "deaf", "reset", "on", ">secret", *rules)
    named = RedisConfig.model_validate({**config.model_dump(), "username": "deaf", "password": "secret"})
    calls = Calls(named, None)
    deltas = Deltas(calls)
    deltas.listen()
    async with asyncio.timeout(20):
        while not told:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.7)
    await deltas.aclose()
    await calls.aclose()
    await store.aclose()
    logger.remove(sink)

    assert len(told) == 1
    assert ALLOWED in told[0]
