"""Servers over HTTP: what the SDK serves, in both eras; and what is refused on the way."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from opspawn.contracts.tool import ToolContext
from opspawn.errors import ToolError
from opspawn_mcp import ServerConfig
from opspawn_mcp.faults import ServerFault
from opspawn_mcp.fleet import Fleet

SDK = Path(__file__).parent / "servers" / "sdk.py"
NOBODY = ToolContext("", "helper")
MakeFleet = Callable[..., Fleet]


@contextmanager
def answering(
    handle: Callable[[BaseHTTPRequestHandler, dict[str, Any]], None], certificate: Path | None = None
) -> Iterator[str]:
    """A server on this machine that answers each POST as `handle` does; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            handle(self, body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scheme = "http" if certificate is None else "https"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{scheme}://127.0.0.1:{server.server_port}/mcp"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"content-length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture(scope="module")
def sdk_url() -> Iterator[str]:
    """What the SDK serves over streamable HTTP."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(SDK), "http", str(port)], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 30
        while True:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < until, "the server does not listen"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize(
    ("mode", "protocol"), [("legacy", "2025-11-25"), ("auto", "2026-07-28"), ("modern", "2026-07-28")]
)
async def test_servers_of_both_eras_are_spoken_to_over_http(
    fleet_of: MakeFleet, sdk_url: str, mode: str, protocol: str
) -> None:
    fleet = fleet_of(others={"sdk": {"url": sdk_url, "allow_private": True, "mode": mode, "pin": "off"}})
    member = fleet.member("sdk")
    await member.server.ready()

    assert await member.tool("add").call({"a": 1, "b": 2}, NOBODY) == {"result": 3}
    assert member.server.protocol == protocol
    assert member.server.instructions == "Ask me for sums."


@pytest.mark.parametrize("over", ["http", "stdio"])
@pytest.mark.parametrize("mode", ["legacy", "modern"])
async def test_changed_tools_are_heard_of_in_both_eras(
    fleet_of: MakeFleet, sdk_url: str, mode: str, over: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Starting takes a server longer than the SDK waits for the first answer of one of the modern era.
    monkeypatch.setattr("mcp.client.session.DISCOVER_TIMEOUT_SECONDS", 0.2)
    where = (
        {"url": sdk_url, "allow_private": True}
        if over == "http"
        else {"command": sys.executable, "args": [str(SDK), "stdio"]}
    )
    fleet = fleet_of(others={"sdk": {**where, "mode": mode, "pin": "off"}})
    member = fleet.member("sdk")
    await member.server.ready()

    await member.tool("grow").call({"name": f"by-{mode}"}, NOBODY)

    async with asyncio.timeout(20):
        while f"by-{mode}" not in member.names():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_arguments_that_do_not_fit_are_told_to_the_model(fleet_of: MakeFleet, sdk_url: str) -> None:
    fleet = fleet_of(others={"sdk": {"url": sdk_url, "allow_private": True, "pin": "off"}})
    await fleet.connect(["sdk"])

    with pytest.raises(ToolError, match=r"(?s)sdk/add failed: .*valid integer"):
        await fleet.member("sdk").tool("add").call({"a": "one", "b": 2}, NOBODY)


async def test_a_session_that_the_server_has_forgotten_is_opened_anew_for_the_call(fleet_of: MakeFleet) -> None:
    sessions: list[str] = []

    def handle(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        session = handler.headers.get("mcp-session-id")
        if body["method"] == "initialize":
            sessions.append(f"s{len(sessions)}")
            info = {"name": "x", "version": "1"}
            told = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
            return _reply(handler, body, told, mcp_session_id=sessions[-1])
        if body["method"] == "tools/call" and session == "s0":
            return answer(handler, 404)
        if body["method"] == "tools/list":
            return _reply(handler, body, {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]})
        if body["method"] == "tools/call":
            return _reply(handler, body, {"content": [{"type": "text", "text": session}]})
        answer(handler, 202)

    with answering(handle) as url:
        fleet = fleet_of(others={"x": {"url": url, "allow_private": True, "mode": "legacy", "pin": "off"}})
        said = await fleet.member("x").tool("echo").call({}, NOBODY)
        await fleet.aclose()

    assert said == "s1"


async def test_an_address_that_is_not_public_is_refused_before_anything_is_sent(fleet_of: MakeFleet) -> None:
    fleet = fleet_of(others={"x": {"url": "https://localhost:1/mcp"}})

    with pytest.raises(ServerFault, match=r"lies at (127\.0\.0\.1|::1), which is no public address \(allow_private\)"):
        await fleet.member("x").server.ready()


def certificate_of(name: str, file: Path) -> Path:
    """A certificate for a name on this machine, with its key, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    parts = [
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain),
        made.public_bytes(serialization.Encoding.PEM),
    ]
    file.write_bytes(b"".join(parts))
    return file


@pytest.mark.parametrize(("name", "trusted"), [("localhost", True), ("elsewhere.example", False)])
async def test_a_server_over_tls_is_spoken_to_if_its_certificate_is_for_its_name(
    fleet_of: MakeFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, trusted: bool
) -> None:
    certificate = certificate_of(name, tmp_path / "certificate.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    reached: list[str] = []
    long = "x" * 300_000

    def handle(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        reached.append(body["method"])
        if body["method"] == "initialize":
            info = {"name": "x", "version": "1"}
            told = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
            return _reply(handler, body, told)
        if body["method"] == "tools/list":
            return _reply(handler, body, {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]})
        if body["method"] == "tools/call":
            said = body["params"]["arguments"]["text"]
            return _reply(handler, body, {"content": [{"type": "text", "text": said}]})
        answer(handler, 202)

    with answering(handle, certificate) as url:
        where = {"url": url.replace("127.0.0.1", "localhost"), "allow_private": True, "mode": "legacy", "pin": "off"}
        fleet = fleet_of(others={"x": where})
        calling = fleet.member("x").tool("echo").call({"text": long}, NOBODY)
        if trusted:
            assert await calling == long
        else:
            with pytest.raises(ServerFault, match="CERTIFICATE_VERIFY_FAILED"):
                await calling
        await fleet.aclose()

    assert ("tools/call" in reached) is trusted


async def test_a_redirect_to_another_place_is_not_followed(fleet_of: MakeFleet) -> None:
    reached: list[str] = []

    def inner(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        reached.append(handler.path)
        answer(handler, 200)

    with answering(inner) as inside, answering(lambda handler, body: answer(handler, 307, location=inside)) as url:
        fleet = fleet_of(others={"x": {"url": url, "allow_private": True, "mode": "legacy"}})
        with pytest.raises(ServerFault, match="MCP server x: "):
            await fleet.member("x").server.ready()
        await fleet.aclose()

    assert reached == []


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
async def test_an_answer_without_end_is_cut_off(fleet_of: MakeFleet, kind: str) -> None:
    def handle(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        answer(handler, 200, b"data: " + b"x" * 200_000, content_type=kind)

    with answering(handle) as url:
        limits = {"max_message_bytes": 100_000, "connect_timeout_s": 20}
        fleet = fleet_of(others={"x": {"url": url, "allow_private": True, "mode": "legacy", **limits}})
        with pytest.raises(ServerFault, match=r"answered with more than 100,000 bytes \(max_message_bytes\)"):
            await fleet.member("x").server.ready()
        await fleet.aclose()


async def test_headers_are_sent_and_shown_to_nobody(fleet_of: MakeFleet) -> None:
    seen: list[str | None] = []

    def handle(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        seen.append(handler.headers.get("authorization"))
        answer(handler, 401)

    with answering(handle) as url:
        settings = {"url": url, "allow_private": True, "headers": {"Authorization": "Bearer very-secret"}}
        fleet = fleet_of(others={"x": {**settings, "mode": "legacy"}})
        with pytest.raises(ServerFault, match="MCP server x: it answered with HTTP 401") as raised:
            await fleet.member("x").server.ready()
        await fleet.aclose()

    assert set(seen) == {"Bearer very-secret"}
    assert "very-secret" not in f"{raised.value} {fleet.member('x').config!r}"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "needs a command or a url"),
        ({"url": "https://a.example/mcp", "command": "x"}, "has both a command and a url"),
        ({"url": "http://a.example/mcp"}, "plain http"),
        ({"url": "ftp://a.example"}, "pattern"),
        ({"command": "x", "headers": {"a": "b"}}, "headers belong to a url"),
    ],
)
def test_settings_that_make_no_server_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ServerConfig.model_validate(settings)


def _reply(handler: BaseHTTPRequestHandler, body: dict[str, Any], result: dict[str, Any], **headers: str) -> None:
    text = json.dumps({"jsonrpc": "2.0", "id": body["id"], "result": result}).encode()
    answer(handler, 200, text, content_type="application/json", **headers)
