"""Another transport's application on the server of the API: at its path, behind the limits, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2
import pytest

from opspawn.contracts.asgi import Receive, Scope, Send
from opspawn.contracts.mounting import Mount
from opspawn.contracts.transport import Transport
from opspawn.errors import ConfigError
from opspawn.host import Host
from opspawn.mounting import Ways
from opspawn.rest.plugin import RestConfig
from opspawn.rest.transport import RestTransport


class Hooks:
    """A transport such as a plugin may bring: it takes webhooks at a path, and says what it got and from where."""

    def __init__(self, path: str = "/hooks", port: int | None = None, **options: Any) -> None:
        self._path, self._port, self._options = path, port, options
        self.carrier: Transport | None = None
        self.log: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}{self._path}" if self.carrier is None else self.carrier.address

    def mount(self) -> Mount | None:
        return None if self._port else Mount(self._path, self.answer, "plugins.hooks", **self._options)

    def mounted(self, carrier: Transport) -> None:
        self.carrier = carrier

    async def bind(self) -> None:
        self.log.append(f"bind {self.address.rpartition(':')[2] != '0'}")

    async def start(self) -> None:
        self.log.append("start")

    async def stop(self) -> None:
        self.log.append("stop")

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/hooks/fails":
            raise RuntimeError("broken")
        body = (await receive()).get("body", b"")
        told = json.dumps({"path": scope["path"], "bytes": len(body), "open": self.log}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": told})


@pytest.fixture
async def carried(host: Host) -> AsyncIterator[tuple[httpx2.AsyncClient, Hooks]]:
    """A client of a REST that serves hooks, too, of at most 2000 bytes, and under another name."""
    rest, hooks = RestTransport(host, RestConfig(port=0)), Hooks(max_body_bytes=2000, hosts=["hooks.example:*"])
    ways = Ways({"hooks": hooks, "rest": rest})
    await ways.bind()
    await ways.start()
    async with httpx2.AsyncClient(trust_env=False, base_url=rest.address) as client:
        yield client, hooks
    await rest.stop()


Carried = tuple[httpx2.AsyncClient, Hooks]


@pytest.mark.parametrize("path", ["/hooks", "/hooks/", "/hooks/git/push"])
async def test_a_mounted_application_gets_its_path_and_all_below_as_they_were_asked_for(
    carried: Carried, path: str
) -> None:
    answer = (await carried[0].post(path, json={"a": 1})).json()

    assert answer["path"] == path
    assert answer["bytes"] == 7


async def test_everything_else_stays_the_api(carried: Carried) -> None:
    client, _ = carried
    answers = [await client.get(path) for path in ("/healthz", "/v1/agents", "/hooksx", "/")]

    assert [answer.status_code for answer in answers] == [200, 200, 404, 404]
    assert answers[2].json()["code"] == "no-such-path"


async def test_it_is_started_before_anybody_is_let_in_and_knows_the_address(carried: Carried) -> None:
    answer = (await carried[0].post("/hooks", json={})).json()

    assert answer["open"] == ["bind True", "start"]


async def test_what_the_api_refuses_never_reaches_it(carried: Carried) -> None:
    client, _ = carried
    asked: list[tuple[dict[str, Any], Mapping[str, str]]] = [
        ({"json": {"a": "x" * 3000}}, {}),
        ({"content": b"[" * 65 + b"]" * 65}, {"Content-Type": "application/json"}),
        ({"content": b"a=1"}, {"Content-Type": "application/x-www-form-urlencoded"}),
        ({"json": {}}, {"Host": "evil.example"}),
    ]
    answers = [await client.post("/hooks", headers=headers, **body) for body, headers in asked]

    assert [answer.json()["code"] for answer in answers] == ["too-large", "too-deep", "media-type", "foreign-host"]
    assert "plugins.hooks.max_body_bytes" in answers[0].json()["remedy"]


async def test_its_own_limits_are_its_own(carried: Carried) -> None:
    client, _ = carried
    named = [
        await client.post(path, json={}, headers={"Host": "hooks.example:81"}) for path in ("/hooks", "/v1/agents")
    ]
    large = await client.post("/v1/opscore/workflows", json={"a": "x" * 3000})

    assert [answer.status_code for answer in named] == [200, 421]
    assert large.json()["code"] != "too-large"


async def test_its_failure_is_a_problem_like_any_other(carried: Carried) -> None:
    answer = await carried[0].post("/hooks/fails", json={})

    assert (answer.status_code, answer.json()["code"]) == (500, "internal")


async def test_what_is_carried_ends_while_its_carrier_still_serves(host: Host) -> None:
    order: list[str] = []

    class Last(Hooks):
        async def stop(self) -> None:
            assert self.carrier is not None
            async with httpx2.AsyncClient(trust_env=False) as client:
                order.append(str((await client.post(f"{self.carrier.address}/hooks", json={})).status_code))
            raise RuntimeError("broken")

    rest = RestTransport(host, RestConfig(port=0))
    ways = Ways({"rest": rest, "hooks": Last()})
    await ways.bind()
    await ways.start()
    address = rest.address
    await ways.stop()

    assert order == ["200"]
    async with httpx2.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get(f"{address}/healthz")


WRONG = [
    (["hooks"], "'hooks' does not begin with a slash"),
    (["/"], "is no path that REST can serve"),
    (["/hooks/"], "is no path that REST can serve"),
    (["/hooks?x"], "is no path that REST can serve"),
    (["/v1"], "lies where the paths of REST are"),
    (["/v1/hooks"], "lies where the paths of REST are"),
    (["/openapi.json"], "lies where the paths of REST are"),
    (["/hooks", "/hooks"], "is in the way of '/hooks'"),
    (["/hooks/a", "/hooks"], "is in the way of '/hooks/a'"),
]


@pytest.mark.parametrize(("paths", "words"), WRONG)
async def test_a_path_that_is_not_free_is_refused_before_anything_is_bound(
    host: Host, paths: list[str], words: str
) -> None:
    hooks = {f"hooks{number}": Hooks(path) for number, path in enumerate(paths)}

    with pytest.raises(ConfigError) as raised:
        Ways({"rest": RestTransport(host, RestConfig(port=0)), **hooks})

    assert words in str(raised.value)
    assert str(raised.value).startswith("plugins.hooks.path: ")
    assert raised.value.remedy


async def test_one_with_an_address_of_its_own_keeps_it_and_may_not_take_that_of_another(host: Host) -> None:
    (other,) = host.transports
    port = int(other.address.rpartition(":")[2])
    apart, clashing = Hooks(port=1), Hooks(port=port)

    await Ways({"rest": other, "hooks": apart}).bind()
    with pytest.raises(ConfigError) as raised:
        await Ways({"rest": Standing(port), "hooks": clashing}).bind()

    assert apart.carrier is None
    assert f"'rest' and 'hooks' both listen on 127.0.0.1:{port}" in str(raised.value)
    assert "leave host and port of 'hooks' out" in str(raised.value.remedy)


class Standing:
    """A transport that has an address already."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    async def bind(self) -> None: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...
