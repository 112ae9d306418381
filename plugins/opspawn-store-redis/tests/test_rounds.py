"""Commits and claims go to the server in rounds: what waits goes together, and nothing while a round is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any

import pytest

from opspawn.contracts.store import Batch, Claim, Put, Task
from opspawn.errors import StoreError
from opspawn.ops import transitions
from opspawn_store_redis import RedisConfig
from opspawn_store_redis.calls import Calls
from opspawn_store_redis.proxy import Proxy
from opspawn_store_redis.store import RedisStore, open_redis
from opspawn_store_redis.testing import RedisServer


class Watched:
    """A store of which each round is noted: "commit" or "claim" when it is sent, "." when it was answered."""

    def __init__(self, store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = store
        self.sent: list[str] = []
        send = Calls.send

        def noted(calls: Calls, name: Any, words: Sequence[Any], **more: Any) -> Awaitable[Any]:
            self.sent.append(name)
            answering = send(calls, name, words, **more)

            async def answer() -> Any:
                found = await answering
                self.sent.append(".")
                return found

            return answer()

        monkeypatch.setattr(Calls, "send", noted)

    def accept(self, *ids: str) -> asyncio.Task[Any]:
        tasks = [Task(id=id, handler="function/f", root=id) for id in ids]
        batch = Batch([operation for task in tasks for operation in transitions.accept(task)])
        return asyncio.create_task(self.store.commit(batch))

    def claim(self) -> asyncio.Task[list[str]]:
        async def claimed() -> list[str]:
            leases = await self.store.claim(Claim("w1", ("default",), ("function/f",), 10, 30.0))
            return [lease.task.id for lease in leases]

        return asyncio.create_task(claimed())


@pytest.fixture
async def proxy(server: RedisServer) -> AsyncIterator[Proxy]:
    async with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def watched(proxy: Proxy, config: RedisConfig, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    store = await open_redis(config.model_copy(update={"url": proxy.url, "timeout_s": 1.0}))
    await store.commit(Batch([]))  # until it is connected
    proxy.delay_s = 0.05
    yield Watched(store, monkeypatch)
    proxy.delay_s, proxy.silent = 0.0, False
    await store.aclose()


async def test_a_claim_goes_with_the_commits_that_wait_and_sees_them(watched: Watched) -> None:
    accepted, claimed = watched.accept("t1"), watched.claim()
    assert await claimed == ["t1"]
    await accepted
    assert watched.sent == ["commit", "claim", ".", "."]


async def test_what_comes_while_a_round_is_under_way_waits_for_the_next(watched: Watched) -> None:
    first = watched.claim()
    await asyncio.sleep(0.01)
    others = [watched.accept("t1"), watched.accept("t2")]
    again = watched.claim()
    assert await first == []
    assert await again == ["t1", "t2"]
    await asyncio.gather(*others)
    assert watched.sent == ["claim", ".", "commit", "claim", ".", "."]


async def test_a_claim_that_was_given_up_while_it_waited_is_not_sent(watched: Watched) -> None:
    first, given_up, again = watched.accept("t1"), watched.claim(), watched.claim()
    await asyncio.sleep(0)
    given_up.cancel()
    assert await again == ["t1"]
    await first
    assert watched.sent.count("claim") == 1


async def test_a_commit_that_is_refused_leaves_the_claim_beside_it_alone(watched: Watched) -> None:
    await watched.accept("t1")
    again = asyncio.create_task(watched.store.commit(Batch([Put(Task("t1", "function/f", "t1"), expect=0)])))
    assert await watched.claim() == ["t1"]
    with pytest.raises(Exception, match="t1"):
        await again


async def test_all_of_a_round_fails_when_the_server_is_away(proxy: Proxy, watched: Watched) -> None:
    proxy.silent = True
    round = [watched.accept("t1"), watched.claim(), watched.claim()]
    with pytest.raises(StoreError):
        await round[0]
    await asyncio.wait(round, timeout=1.0)  # nobody's patience begins with the end of another's
    found = [one.exception() for one in round if one.done()]
    assert [type(one) for one in found] == [StoreError, StoreError, StoreError]
    proxy.silent = False
    await watched.accept("t2")
    assert "t2" in await watched.claim()


async def test_a_store_that_is_closed_finishes_the_round(watched: Watched) -> None:
    accepted, claimed = watched.accept("t1"), watched.claim()
    await asyncio.sleep(0)
    await watched.store.aclose()
    assert await claimed == ["t1"]
    await accepted


async def test_a_claim_that_cannot_be_sent_leaves_the_commits_beside_it_alone(watched: Watched) -> None:
    accepted = watched.accept("t1")
    unsayable = watched.store.claim(Claim("w\ud800", ("default",), ("function/f",), 10, 30.0))
    found = await asyncio.gather(accepted, unsayable, watched.claim(), return_exceptions=True)
    assert isinstance(found[1], StoreError)
    assert "no text" in found[1].message
    assert found[2] == ["t1"]
    assert (await accepted).versions == [1]
