"""The way out: to one address, that was looked at before, within a time."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from opspawn.errors import StepFailed
from opspawn.ops.agents import egress
from opspawn.ops.agents.egress import is_global, post_json

Reply = Callable[[bytes, asyncio.StreamWriter], Any]


class Server:
    """Takes requests on a port of this machine, remembers them, and answers as told."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
        self.url = ""
        self.writers: list[asyncio.StreamWriter] = []

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        self.requests.append(head + await reader.readexactly(length))
        writer.write(self.answer)
        if self.answer:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    opened = await asyncio.start_server(made.take, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{opened.sockets[0].getsockname()[1]}/run?x=1"
    yield made
    opened.close()
    for writer in made.writers:
        writer.transport.abort()
    await asyncio.sleep(0)


async def post(url: str, **more: Any) -> egress.Answer:
    return await post_json(url, b'{"a":1}', {"X-Own": "yes"}, **{"timeout_s": 5.0, "allow_private": True, **more})


async def test_a_body_arrives_with_its_headers(server: Server) -> None:
    answer = await post(server.url)

    (request,) = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /run?x=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nX-Own: yes" in head
    assert b"\r\nContent-Type: application/json" in head
    assert (json.loads(body), answer.status) == ({"a": 1}, 202)


async def test_the_begin_of_a_bad_answer_is_kept_and_no_more(server: Server) -> None:
    server.answer = b"HTTP/1.1 503 No\r\nRetry-After: 7\r\n\r\n" + b"x" * 100_000
    answer = await post(server.url)

    assert (answer.status, answer.headers["retry-after"], len(answer.text) <= 2048) == (503, "7", True)


async def test_a_redirect_is_not_followed(server: Server) -> None:
    server.answer = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n"

    assert (await post(server.url)).status == 302
    assert len(server.requests) == 1


async def test_an_interim_answer_is_passed_over(server: Server) -> None:
    server.answer = b"HTTP/1.1 100 Continue\r\n\r\n" + server.answer

    assert (await post(server.url)).status == 202


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
        "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "::", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1",
        "2002:7f00:1::", "ff02::1", "255.255.255.255",
    ],
)  # fmt: skip
def test_an_inner_address_is_none_of_the_public_internet(address: str) -> None:
    assert not is_global(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_an_outer_address_is(address: str) -> None:
    assert is_global(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0x7f.1", "2130706433"])
async def test_an_inner_address_is_refused_unless_allowed(server: Server, host: str) -> None:
    port = server.url.split(":")[2].split("/")[0]
    with pytest.raises(StepFailed, match=r"no public address|cannot be reached") as error:
        await post(f"http://{host}:{port}/", allow_private=False)

    assert error.value.error_type in ("denied", "transient")
    assert server.requests == []


async def test_one_inner_address_among_outer_ones_refuses_the_name(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def two(*args: Any, **more: Any) -> list[Any]:
        return [(socket.AF_INET, 1, 6, "", ("1.1.1.1", 80)), (socket.AF_INET, 1, 6, "", ("127.0.0.1", 80))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two)
    with pytest.raises(StepFailed, match=r"lies at 127\.0\.0\.1"):
        await post("http://rebinding.example/", allow_private=False)


async def test_the_address_that_was_looked_at_is_the_one_that_is_called(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is looked up once: what a second look-up would say leads nowhere."""
    looked: list[str] = []
    loop = asyncio.get_running_loop()
    really = loop.getaddrinfo

    async def once(host: str, port: int, **more: Any) -> list[Any]:
        if host == "rebinding.example":
            looked.append(host)
            return [(socket.AF_INET, 1, 6, "", ("127.0.0.1", port))]
        return await really(host, port, **more)

    monkeypatch.setattr(loop, "getaddrinfo", once)
    await post(server.url.replace("127.0.0.1", "rebinding.example"))

    assert looked == ["rebinding.example"]
    assert b"Host: rebinding.example:" in server.requests[0]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "gopher://x/", "nonsense", "http://"])
async def test_what_is_no_http_address_is_refused(url: str) -> None:
    with pytest.raises(StepFailed) as error:
        await post(url)

    assert error.value.error_type == "denied"


async def test_nobody_who_listens_is_a_passing_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(StepFailed, match="cannot be reached") as error:
        await post(f"http://127.0.0.1:{port}/")

    assert error.value.error_type == "transient"


async def test_silence_is_a_time_out(server: Server) -> None:
    server.answer = b""
    with pytest.raises(StepFailed, match="did not answer within") as error:
        await post(server.url, timeout_s=0.1)

    assert error.value.error_type == "timeout"


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x" * 70000]
)
async def test_what_is_no_http_answer_is_a_passing_failure(server: Server, answer: bytes) -> None:
    server.answer = answer
    with pytest.raises(StepFailed) as error:
        await post(server.url)

    assert error.value.error_type == "transient"


async def test_an_address_cannot_smuggle_a_header(server: Server) -> None:
    await post(server.url.replace("/run?x=1", "/run%0d%0aX-Evil: 1?y= HTTP/1.1"))

    assert b"\r\nX-Evil" not in server.requests[0]
