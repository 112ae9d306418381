"""MCP by the server of REST: one port, the same limits, the keys of MCP at its path."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.types import ElicitResult

from opspawn.contracts.store import Query
from opspawn.errors import ConfigError
from opspawn.host import Host

from ._served import BESIDE_REST, MODES, client_of, make_folder, serving, text_of

both = pytest.mark.parametrize("mode", MODES)
KEYS = """
[plugins.mcp.serve.keys.editor]
token = "editor-0123456789"
scopes = ["call"]
"""


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    async with serving(make_folder(tmp_path, base=BESIDE_REST)) as running:
        yield running


def http() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(timeout=30, trust_env=False, verify=False)


@both
async def test_one_port_serves_both(host: Host, mode: str) -> None:
    rest, mcp = (transport.address for transport in host.transports)
    heard: list[str | None] = []
    long = "x" * 600_000

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(message)

    async def approve(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"decision": "approve"})

    async with client_of(host, mode, elicitation_callback=approve) as client, http() as plain:
        said = await client.call_tool("ask_echo", {"message": long}, progress_callback=hear)
        paid = await client.call_tool("pay", {"amount": 5})
        (asked,) = (await plain.get(f"{rest}/v1/opscore/approvals?state=answered")).json()["approvals"]

    assert mcp == f"{rest}/mcp"
    assert text_of(said) == f"you said: {long}"
    assert "half way 1/2" in heard
    assert paid.structured_content == {"paid": 5}
    assert asked["answeredBy"] == "mcp"


@both
async def test_a_call_that_is_taken_back_through_rest_s_server_ends_its_task(
    host: Host, mode: str, tmp_path: Path
) -> None:
    async with client_of(host, mode) as client:
        calling = asyncio.ensure_future(client.call_tool("ask_sleeper", {"message": "sleep"}))
        await until(lambda: "asleep" in notes(tmp_path))
        calling.cancel()
        await until(lambda: "woken" in notes(tmp_path))


async def test_a_question_to_the_human_at_the_client_may_be_answered_by_rest(host: Host) -> None:
    rest = host.transports[0].address
    asked, never = asyncio.Event(), asyncio.Event()

    async def does_not_answer(context: Any, params: Any) -> ElicitResult:
        asked.set()
        await never.wait()
        raise AssertionError

    async with client_of(host, "legacy", elicitation_callback=does_not_answer) as client, http() as plain:
        paying = asyncio.ensure_future(client.call_tool("pay", {"amount": 5}))
        await asked.wait()
        (one,) = (await plain.get(f"{rest}/v1/opscore/approvals")).json()["approvals"]
        (await plain.post(f"{rest}/v1/opscore/approvals/{one['id']}/approve", json={})).raise_for_status()
        result = await paying

    assert result.structured_content == {"paid": 5}


@pytest.mark.parametrize("key", [None, "editor-0123456789x"])
async def test_the_keys_stand_before_its_path_alone(tmp_path: Path, key: str | None) -> None:
    async with serving(make_folder(tmp_path, KEYS, BESIDE_REST)) as host, http() as plain:
        rest, mcp = (transport.address for transport in host.transports)
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        refused = await plain.post(mcp, json={}, headers=headers)
        served = await plain.get(f"{rest}/v1/agents", headers=headers)
        async with client_of(host, "auto", "editor-0123456789") as client:
            answered = await client.call_tool("ask_echo", {"message": "hello"})
            waiting = await client.call_tool("pay", {"amount": 5})

    assert (refused.status_code, served.status_code) == (401, 200)
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert text_of(answered) == "you said: hello"
    assert "opspawn approvals approve" in text_of(waiting)  # without the scope to answer


async def test_what_rest_refuses_is_refused_here_too_and_told_alike(tmp_path: Path) -> None:
    own = {"plugins.mcp.serve.max_body_bytes": 2000, "plugins.mcp.serve.allowed_hosts": ["mcp.example"]}
    async with serving(make_folder(tmp_path, base=BESIDE_REST), **own) as host, http() as plain:
        mcp = host.transports[1].address
        large = await plain.post(mcp, json={"a": "x" * 3000})
        foreign = await plain.post(mcp, json={}, headers={"Host": "evil.example"})
        named = await plain.post(mcp, json={}, headers={"Host": "mcp.example", "Accept": "text/html"})
        page = await plain.post(mcp, json={}, headers={"Origin": "https://evil.example"})
        slash = await plain.post(f"{mcp}/", json={}, headers={"Accept": "text/html"})
        below = await plain.post(f"{mcp}/x", json={})

    assert [answer.json()["code"] for answer in (large, foreign)] == ["too-large", "foreign-host"]
    assert "plugins.mcp.serve.max_body_bytes" in large.json()["remedy"]
    statuses = [answer.status_code for answer in (large, foreign, named, page, slash, below)]
    assert statuses == [413, 421, 406, 403, 406, 404]  # 406: it came through to MCP, which wants another Accept


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"path": "/v1"}, "'/v1' lies where the paths of REST are"),
        ({"path": "/"}, "'/' is no path that REST can serve"),
        ({"path": "mcp"}, '"mcp" does not begin with a slash; write "/mcp"'),
        ({"path": "/a b"}, '"/a b" is no path'),
    ],
)
async def test_a_path_that_rest_cannot_serve_is_told_at_the_start(
    tmp_path: Path, overrides: dict[str, Any], words: str
) -> None:
    changed = {f"plugins.mcp.serve.{name}": value for name, value in overrides.items()}
    with pytest.raises(ConfigError) as raised:
        async with serving(make_folder(tmp_path, base=BESIDE_REST), **changed):
            pass

    assert words in str(raised.value)
    assert "plugins.mcp.serve.path" in str(raised.value)


async def test_who_may_reach_rest_without_a_key_does_not_reach_mcp_by_it(tmp_path: Path) -> None:
    public = {"plugins.rest.host": "0.0.0.0", "plugins.rest.allow_public": True}
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0 is no loopback address, and there are no keys"):
        async with serving(make_folder(tmp_path, base=BESIDE_REST), **public):
            pass


@pytest.mark.parametrize("order", [["rest", "mcp"], ["mcp", "rest"]])
async def test_a_port_of_its_own_stays_its_own(tmp_path: Path, order: list[str]) -> None:
    changed = {"transports": order, "plugins.mcp.serve.port": 0}
    async with serving(make_folder(tmp_path, base=BESIDE_REST), **changed) as host, http() as plain:
        by_name = dict(zip(order, (transport.address for transport in host.transports), strict=True))
        beside = await plain.post(f"{by_name['rest']}/mcp", json={})
        apart = await plain.post(by_name["mcp"], json={}, headers={"Accept": "text/html"})

    assert (beside.status_code, apart.status_code) == (404, 406)


async def test_both_on_one_port_is_told_with_the_way_out(tmp_path: Path, unused_tcp_port: int) -> None:
    changed = {"plugins.rest.port": unused_tcp_port, "plugins.mcp.serve.port": unused_tcp_port}
    with pytest.raises(ConfigError) as raised:
        async with serving(make_folder(tmp_path, base=BESIDE_REST), **changed):
            pass

    assert f"'rest' and 'mcp' both listen on 127.0.0.1:{unused_tcp_port}" in str(raised.value)
    assert "leave host and port of 'mcp' out" in str(raised.value.remedy)


async def test_a_stop_answers_the_calls_that_are_open_with_their_tasks_which_go_on(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, base=BESIDE_REST)
    asked, never = asyncio.Event(), asyncio.Event()

    async def does_not_answer(context: Any, params: Any) -> ElicitResult:
        asked.set()
        await never.wait()
        raise AssertionError

    async with serving(folder, **{"worker.drain_s": 0.1}) as host:
        old_client = client_of(host, "legacy", elicitation_callback=does_not_answer)
        async with old_client as old, client_of(host, "auto") as new:
            calling = [
                asyncio.ensure_future(client.call_tool("ask_sleeper", {"message": "sleep"})) for client in (old, new)
            ]
            await asyncio.gather(old.list_tools(), new.list_tools())  # else the SDK asks for it once it has its answer
            paying = asyncio.ensure_future(old.call_tool("pay", {"amount": 5}))
            await until(lambda: notes(folder).count("asleep") == 2)
            await asked.wait()
            for transport in reversed(host.transports):  # as the host does it: what is carried first
                await transport.stop()
            answers = [text_of(answer) for answer in await asyncio.gather(*calling)]
            waiting = text_of(await paying)
        tasks = (await host.tasks(Query(where={"handler": "agent/sleeper"}, limit=10))).items
        assert [task.state.terminal for task in tasks] == [False, False]
        assert all(any(f"Its task is {task.id}" in answer for answer in answers) for task in tasks)
        assert "opspawn approvals approve" in waiting
        for task in tasks:
            await host.cancel(task.id)


@pytest.mark.timeout(180)  # a busy machine takes its time to start a process
def test_it_is_not_loaded_where_it_is_not_configured(tmp_path: Path) -> None:
    make_folder(tmp_path, base=BESIDE_REST)
    script = """
import asyncio, sys
from opspawn import App
from opspawn.config import load_settings
from opspawn.host import Host
async def main():
    async with Host.open(App(), loaded=load_settings(overrides={"transports": ["rest"]}), transports=True):
        print([name for name in ("mcp", "opspawn_mcp.serving.transport") if name in sys.modules])
asyncio.run(main())
"""
    told = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=150)

    assert told.stdout.strip().splitlines()[-1:] == ["[]"], told.stderr


def notes(folder: Path) -> list[str]:
    file = folder / "notes.txt"
    return file.read_text().splitlines() if file.exists() else []


async def until(holds: Any) -> None:
    for _ in range(2000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come true")
