"""Signing in in the middle of a run, by a durable question; and from the command line, by a browser or by hand."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from pathlib import Path

import httpx2
import pytest

from opspawn.contracts.question import AskedQuestion
from opspawn.contracts.store import TaskState
from opspawn_mcp.approvals import awaiting, pin
from opspawn_mcp.fleet import Fleet
from opspawn_mcp.settings import McpConfig
from opspawn_mcp.signing.loopback import listening
from opspawn_mcp.signing.needed import SignInNeeded

from ._hosts import asked_by, running
from ._signing import browse, free_port, new_sdk, signing, table
from .servers.signing import Signing

CALL = {"tool": "remote__whoami", "source": "mcp:remote/*"}
OPSPAWN = str(Path(sys.executable).with_name("opspawn"))
KEY = "a key of the configuration, and long"
PATIENCE_S = 40.0
pytestmark = new_sdk


def write_config(folder: Path, server: Signing, effect: str, port: int | None = None) -> None:
    one = {**table(server, **({} if port is None else {"redirect_port": port})), "pin": "required"}
    lines = [f"[plugins.mcp.tokens]\nencryption_key = {json.dumps(KEY)}", "[worker]\npoll_s = 0.05\ndrain_s = 0.1"]
    lines += ["[plugins.mcp.servers.remote]", f'effects = {{"*" = "{effect}"}}']
    lines += [f"{key} = {json.dumps(value)}" for key, value in one.items() if key != "auth"]
    lines += [
        "[plugins.mcp.servers.remote.auth]",
        *(f"{key} = {json.dumps(value)}" for key, value in one["auth"].items()),
    ]
    (folder / "opspawn.toml").write_text("\n".join(lines).replace("True", "true"))


def address_in(asked: AskedQuestion) -> str:
    return asked.question.text.split()[-1]


async def approve(folder: Path, server: Signing) -> None:
    """Pin the tool, as somebody does who is signed in elsewhere."""
    one = {**table(server), "pin": "required"}
    settings = {"servers": {"remote": one}, "root": folder, "tokens": {"encryption_key": KEY, "folder": "others"}}
    fleet = Fleet(McpConfig.model_validate(settings))
    member = fleet.member("remote")
    assert member.signer is not None
    with pytest.raises(SignInNeeded) as needed:
        await member.server.ready()
    await member.signer.complete(await browse(needed.value.address))
    await member.server.ready()
    pin(member, awaiting(member), "ann")
    await fleet.aclose()


@pytest.mark.parametrize("effect", ["read", "once"])
async def test_a_call_waits_until_somebody_has_signed_in_over_restarts(tmp_path: Path, effect: str) -> None:
    async with signing() as server:
        await approve(tmp_path, server)
        write_config(tmp_path, server, effect)
        async with running(tmp_path) as host:
            task = await host.submit("tool/call", CALL)
            first = await asked_by(host)
        async with running(tmp_path) as host:
            asked = await asked_by(host)
            await host.answer(asked.id, "what now?", by="ann")
            again = await asked_by(host)
            await host.answer(again.id, await browse(address_in(first)), by="ann")
            ended = await host.wait(task.id, PATIENCE_S)
            journal = json.dumps([event.data for event in await host.journal(task.id)])

    assert (ended.state, ended.result) == (TaskState.SUCCEEDED, {"result": "ann"})
    assert asked.id == first.id
    assert "That did not do: the address must begin with http://127.0.0.1" in again.question.text
    assert server.calls == 1
    for secret in (*server.access, *server.refresh):
        assert secret not in journal


async def test_a_call_that_waited_goes_on_when_somebody_signed_in_elsewhere_and_says_so(tmp_path: Path) -> None:
    async with signing() as server:
        await approve(tmp_path, server)
        write_config(tmp_path, server, "once", port := free_port())
        async with running(tmp_path) as host:
            task = await host.submit("tool/call", CALL)
            first = await asked_by(host)
            await host.answer(first.id, "done")
            asked = await asked_by(host)
            address = address_in(asked)
            login = await command(tmp_path, "mcp", "login", "remote", "--no-browser")
            await asyncio.gather(until_listened(port), until_printed(login, address))
            await browse_to_the_end(address)
            said, _ = await login.communicate()
            await host.answer(asked.id, "done")
            ended = await host.wait(task.id, PATIENCE_S)

    assert (login.returncode, ended.result, server.calls) == (0, {"result": "ann"}, 1)
    assert "Nobody has signed in yet." in asked.question.text
    assert b"You are signed in to remote. It has 1 tools." in said


async def test_whoever_says_no_denies_the_call(tmp_path: Path) -> None:
    async with signing() as server:
        await approve(tmp_path, server)
        write_config(tmp_path, server, "once")
        async with running(tmp_path) as host:
            task = await host.submit("tool/call", CALL)
            await host.answer((await asked_by(host)).id, "no")
            ended = await host.wait(task.id, PATIENCE_S)

    assert (ended.state, (ended.error or {})["type"], server.calls) == (TaskState.FAILED, "denied", 0)


async def test_an_address_that_is_typed_in_signs_in_and_one_logs_out_again(tmp_path: Path) -> None:
    async with signing() as server:
        write_config(tmp_path, server, "once", port := free_port())
        with socket.socket() as taken:  # so that nothing comes by the browser
            taken.bind(("127.0.0.1", port))
            taken.listen()
            login = await command(tmp_path, "mcp", "login", "remote", "--no-browser")
            assert login.stdout is not None
            lines = [(await login.stdout.readline()).decode() for _ in range(3)]
            said, told = await login.communicate((await browse(lines[2].strip())).encode() + b"\n")
        out = await command(tmp_path, "mcp", "logout", "remote")
        forgotten, _ = await out.communicate()

    assert (login.returncode, out.returncode) == (0, 0)
    assert b"Nobody can listen at" in told
    assert b"You are signed in" in said
    assert b"took them back" in forgotten
    for secret in (*server.access, *server.refresh):
        assert secret.encode() not in said + told


async def test_a_login_that_cannot_be_says_so_in_a_line(tmp_path: Path) -> None:
    async with signing() as server:
        write_config(tmp_path, server, "once")
        login = await command(tmp_path, "mcp", "login", "remote", "--no-browser")
        _, told = await login.communicate(b"http://evil.example/?code=1\n")

    assert login.returncode == 1
    assert b"nobody is signed in: the address must begin with http://127.0.0.1" in told
    assert b"Traceback" not in told


async def test_only_the_browser_of_the_sign_in_is_heard(tmp_path: Path) -> None:
    uri = f"http://127.0.0.1:{free_port()}/callback"
    async with listening(uri, "right") as came, httpx2.AsyncClient(trust_env=False) as client:
        wrong = [
            await client.get(f"{uri}?code=1&state=wrong"),
            await client.get(uri.replace("/callback", "/other") + "?code=1&state=right"),
            await client.post(f"{uri}?code=1&state=right"),
            await client.get(f"{uri}?code=1&state=right", headers={"Host": "evil.example"}),
        ]
        assert not came.done()
        right = await client.get(f"{uri}?code=1&state=right")

    assert [one.status_code for one in wrong] == [400] * 4
    assert (right.status_code, came.result()) == (200, f"{uri}?code=1&state=right")


async def command(folder: Path, *words: str) -> asyncio.subprocess.Process:
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    return await asyncio.create_subprocess_exec(OPSPAWN, *words, cwd=folder, **pipes)


async def until_listened(port: int) -> None:
    for _ in range(2000):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return
    raise AssertionError("nobody listens")


async def until_printed(login: asyncio.subprocess.Process, words: str) -> None:
    assert login.stdout is not None
    while words not in (line := (await login.stdout.readline()).decode()):
        assert line, "it ended"


async def browse_to_the_end(address: str) -> None:
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
        assert (await client.get(await browse(address))).status_code == 200
