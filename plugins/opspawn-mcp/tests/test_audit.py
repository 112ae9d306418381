"""The audit log: what it keeps of calls and decisions, that changes to it are named, and what happens when it fails."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from opspawn.agentkit.deciding import Policies
from opspawn.contracts.policy import Considered
from opspawn.contracts.tool import ToolContext
from opspawn.errors import Denied, ToolError
from opspawn_mcp import McpConfig
from opspawn_mcp.audit.chain import Chain
from opspawn_mcp.audit.log import AuditFailed, AuditLog, path_of, segments
from opspawn_mcp.audit.reading import Findings, records, verify
from opspawn_mcp.audit.settings import AuditConfig
from opspawn_mcp.fleet import Fleet

from ._plain import Plain, approve
from ._terminal import opspawn

MakePlain = Callable[..., Plain]
HELPER = ToolContext("task/key", "helper", "task", "session")
KEY = "a key of the configuration, and long"


def fleet(folder: Path, *servers: Plain, audit: dict[str, Any] | None = None, **settings: Any) -> Fleet:
    tables = {one.name: one.settings(**settings) for one in servers}
    return Fleet(McpConfig.model_validate({"servers": tables, "root": folder, "audit": audit or {}}))


def log(folder: Path, *, key: str | None = None, segment_bytes: int = 400, max_bytes: int = 1 << 30) -> AuditLog:
    chain = Chain(None if key is None else key.encode())
    return AuditLog(folder, chain, max_bytes=max_bytes, keep_s=None, segment_bytes=segment_bytes)


async def written(folder: Path, count: int = 9, **options: Any) -> None:
    made = log(folder, **options)
    for number in range(count):
        await made.append({"kind": "call", "tool": f"t{number}"})
    made.close()


def faults(folder: Path, key: str | None = None) -> list[str]:
    return verify(folder, Chain(None if key is None else key.encode())).faults


# -- what is kept ------------------------------------------------------------------------------------------------------


async def test_a_call_is_recorded_with_who_made_it_and_how_it_ended(tmp_path: Path, plain: MakePlain) -> None:
    made = fleet(tmp_path, plain(tools=["echo"]))
    await approve(made, "plain")
    await made.member("plain").tool("echo").call({"text": "s3cret"}, HELPER)
    await made.aclose()

    call, end = records(tmp_path / "mcp-audit")
    assert {key: call[key] for key in ("kind", "agent", "task", "session", "server", "tool")} == {
        "kind": "call",
        "agent": "helper",
        "task": "task",
        "session": "session",
        "server": "plain",
        "tool": "echo",
    }
    assert (call["decision"], call["pin"], call["effect"], call["key"]) == ("allow", "approved", "once", "task/key")
    assert len(call["digest"]) == 64
    assert (end["of"], end["outcome"]) == (call["n"], "ok")
    assert end["bytes"] > 0
    assert end["durationMs"] > 0
    assert "s3cret" not in path_of(tmp_path / "mcp-audit", 1).read_text()
    assert path_of(tmp_path / "mcp-audit", 1).stat().st_mode & 0o777 == 0o600


async def test_what_is_not_allowed_is_recorded_with_its_reason_and_nothing_is_sent(
    tmp_path: Path, plain: MakePlain
) -> None:
    server = plain(tools=["echo", "pay", "new"])
    rules = [{"tool": "pay", "decision": "deny", "reason": "Not you. api_key=hidden-value"}]
    made = fleet(tmp_path, server, ask=["echo"], rules=rules, pin="off")
    await made.member("plain").server.ready()
    member = made.member("plain")
    for name in ("pay", "echo"):
        tool = member.tool(name)
        await Policies([tool.decider]).decide(Considered("tool", tool.name, {"a": 1}, "helper", "once", "task"))
    await made.aclose()

    denied, asked = records(tmp_path / "mcp-audit")
    assert (denied["kind"], denied["decision"], denied["pin"], denied["task"]) == (
        "decision",
        "deny",
        "unpinned",
        "task",
    )
    assert denied["reason"] == "Not you. api_key=***"
    assert (asked["decision"], asked["reason"]) == ("ask", "Calls of plain/echo need a human's word.")
    assert server.calls() == []


async def test_a_call_that_fails_is_recorded_as_such(tmp_path: Path, plain: MakePlain) -> None:
    server = plain(tools=["echo"], call="die")
    made = fleet(tmp_path, server, pin="off")
    with pytest.raises(ToolError):
        await made.member("plain").tool("echo").call({}, HELPER)
    await made.aclose()

    _, end = records(tmp_path / "mcp-audit")
    assert end["outcome"] == "transient"
    assert end["error"].startswith("MCP server plain/echo: it ended")


async def test_arguments_are_kept_in_part_and_without_secrets_if_wanted(tmp_path: Path, plain: MakePlain) -> None:
    made = fleet(tmp_path, plain(tools=["echo"]), pin="off", audit={"arguments": "clamped"})
    await made.member("plain").tool("echo").call({"text": "x" * 5000, "password": "hidden"}, HELPER)
    await made.aclose()

    call, _ = records(tmp_path / "mcp-audit")
    assert call["arguments"].startswith('{"text": "xxx')
    assert len(call["arguments"]) == 1001
    assert "hidden" not in call["arguments"]


async def until_recorded(folder: Path, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(20):
        while len(found := list(records(folder / "mcp-audit"))) < count:  # noqa: ASYNC110  # a file tells nobody
            await asyncio.sleep(0.005)
    return found


async def test_an_end_is_recorded_soon_though_nothing_else_happens(tmp_path: Path, plain: MakePlain) -> None:
    made = fleet(tmp_path, plain(tools=["echo"]), pin="off")
    await made.member("plain").tool("echo").call({}, HELPER)

    assert [record["kind"] for record in await until_recorded(tmp_path, 2)] == ["call", "end"]
    await made.aclose()


async def test_a_begin_stands_before_anything_is_sent(tmp_path: Path, plain: MakePlain) -> None:
    server = plain(tools=["echo"], call="silent")
    made = fleet(tmp_path, server, pin="off")
    await made.member("plain").server.ready()
    begun = asyncio.ensure_future(made.member("plain").tool("echo").call({}, HELPER))
    while not server.calls():  # noqa: ASYNC110
        await asyncio.sleep(0.005)

    assert [record["kind"] for record in records(tmp_path / "mcp-audit")] == ["call"]
    begun.cancel()
    await asyncio.wait({begun})
    await made.aclose()
    assert [record.get("outcome") for record in records(tmp_path / "mcp-audit")] == [None, "cut off"]


async def test_an_end_waits_for_another_process_and_is_not_lost_when_the_next_call_is_given_up(
    tmp_path: Path, plain: MakePlain
) -> None:
    made = fleet(tmp_path, plain(tools=["echo"]), pin="off")
    tool = made.member("plain").tool("echo")
    await tool.call({}, HELPER)
    with (tmp_path / "mcp-audit" / "head").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        given_up = asyncio.ensure_future(tool.call({}, HELPER))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait({given_up})
    await made.aclose()

    assert [record["kind"] for record in records(tmp_path / "mcp-audit")] == ["call", "end"]
    assert faults(tmp_path / "mcp-audit") == []


# -- the chain ---------------------------------------------------------------------------------------------------------


def edit(line: int, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = path_of(folder, 2)
        lines = path.read_text().splitlines(keepends=True)
        lines[line] = lines[line].replace(old, new)
        path.write_text("".join(lines))

    return change


def swap(folder: Path) -> None:
    path = path_of(folder, 2)
    first, second, *more = path.read_text().splitlines(keepends=True)
    path.write_text("".join([second, first, *more]))


def forge(folder: Path) -> None:
    """A line with a hash of its own, put in the place of another."""
    path = path_of(folder, 2)
    lines = path.read_text().splitlines()
    record = json.loads(lines[0])
    line, _ = Chain().line({"kind": "call", "tool": "forged"}, record["n"], record["prev"])
    path.write_bytes(b"\n".join([line.rstrip(), *(one.encode() for one in lines[1:])]) + b"\n")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (edit(0, '"tool":"t', '"tool":"u'), "00000002.jsonl, line 1: it was changed"),
        (edit(0, "}", "]"), "00000002.jsonl, line 1: it is no record"),
        (swap, "00000002.jsonl, line 1: it is record"),
        (forge, "00000002.jsonl, line 2: it does not follow the record before it"),
        (lambda folder: path_of(folder, 2).unlink(), "00000002.jsonl: the file is missing"),
        (lambda folder: path_of(folder, 1).unlink(), "are missing, and the log does not say that they were removed"),
        (lambda folder: (folder / "head").unlink(), "head: the file is missing"),
        (lambda folder: path_of(folder, 3).unlink(), "are missing at the end"),
    ],
)
async def test_tampering_is_named_with_its_place(tmp_path: Path, change: Callable[[Path], Any], words: str) -> None:
    await written(tmp_path)
    assert faults(tmp_path) == []
    change(tmp_path)

    assert any(words in fault for fault in faults(tmp_path)), faults(tmp_path)


async def test_one_change_is_one_fault(tmp_path: Path) -> None:
    await written(tmp_path)
    edit(0, '"tool":"t', '"tool":"u')(tmp_path)

    assert len(faults(tmp_path)) == 1


async def test_nothing_is_written_behind_records_that_were_cut_off_or_put_in(tmp_path: Path) -> None:
    await written(tmp_path, 2, segment_bytes=1 << 20)
    path = path_of(tmp_path, 1)
    whole = path.read_bytes()
    for tampered in (whole[:-5], whole + b'{"n":3}\n'):
        path.write_bytes(tampered)
        with pytest.raises(AuditFailed, match=r"cut off at the end|Something else was written"):
            await written(tmp_path, 1, segment_bytes=1 << 20)

    path.write_bytes(whole)
    await written(tmp_path, 1, segment_bytes=1 << 20)
    assert faults(tmp_path) == []


async def test_only_who_has_the_key_can_make_a_chain_that_fits(tmp_path: Path) -> None:
    await written(tmp_path, 3, key=KEY)

    assert faults(tmp_path, KEY) == []
    assert "written with another key" in faults(tmp_path)[0]


async def test_a_record_that_was_noted_must_still_be_there(tmp_path: Path) -> None:
    """Whoever can write everything can make a new chain; a hash that is kept elsewhere shows it."""
    await written(tmp_path / "a")
    await written(tmp_path / "b", 8)
    noted = verify(tmp_path / "a", Chain())

    assert verify(tmp_path / "a", Chain(), (noted.last, noted.hash)).faults == []
    shutil.rmtree(tmp_path / "a")
    await written(tmp_path / "a", 12)
    assert verify(tmp_path / "a", Chain(), (noted.last, noted.hash)).faults == []  # the same records, the same chain
    assert "that was noted is not there" in verify(tmp_path / "b", Chain(), (noted.last, noted.hash)).faults[0]


async def test_the_oldest_files_go_and_that_is_recorded(tmp_path: Path) -> None:
    await written(tmp_path, 30, max_bytes=1600)

    found = verify(tmp_path, Chain())
    assert found.faults == []
    assert found.first > 1
    assert found.last > 30
    assert sum(size for _, size, _ in segments(tmp_path)) < 2400
    assert any(record["kind"] == "retention" for record in records(tmp_path))


WRITE = """
import asyncio, sys
from pathlib import Path
from opspawn_mcp.audit.chain import Chain
from opspawn_mcp.audit.log import AuditLog
async def main():
    log = AuditLog(Path(sys.argv[1]), Chain(), max_bytes=1 << 30, keep_s=None, segment_bytes=20_000)
    for n in range(int(sys.argv[2])):
        await log.append({"kind": "call", "who": sys.argv[3]})
        if n == 20:
            print("ready", flush=True)
asyncio.run(main())
"""


async def test_several_processes_write_one_chain_and_one_that_is_killed_breaks_nothing(tmp_path: Path) -> None:
    writers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITE, str(tmp_path), count, name, stdout=asyncio.subprocess.PIPE
        )
        for name, count in (("a", "150"), ("killed", "1000000"))
    ]
    killed = writers[1]
    assert killed.stdout is not None
    await killed.stdout.readline()
    os.kill(killed.pid, signal.SIGKILL)
    await written(tmp_path, 150, segment_bytes=20_000)
    await asyncio.gather(*(one.wait() for one in writers))
    await written(tmp_path, 1, segment_bytes=20_000)

    assert faults(tmp_path) == []
    who = [record.get("who") for record in records(tmp_path)]
    assert (who.count("a"), who.count(None)) == (150, 151)


async def test_what_a_killed_process_left_is_taken_in_if_it_is_whole_and_cut_off_if_not(tmp_path: Path) -> None:
    await written(tmp_path, 1, segment_bytes=1 << 20)
    [first] = records(tmp_path)
    line, _ = Chain().line({"kind": "call", "tool": "in time"}, 2, first["hash"])
    with path_of(tmp_path, 1).open("ab") as file:
        file.write(line + line[:30])
    assert verify(tmp_path, Chain()) == Findings(2, 1, 2, json.loads(line)["hash"], [])
    await written(tmp_path, 1, segment_bytes=1 << 20)

    assert [record["tool"] for record in records(tmp_path)] == ["t0", "in time", "t0"]
    assert faults(tmp_path) == []


# -- when it cannot be written -----------------------------------------------------------------------------------------


async def test_a_call_of_which_nothing_can_be_recorded_is_refused(tmp_path: Path, plain: MakePlain) -> None:
    server = plain(tools=["echo"])
    made = fleet(tmp_path, server, pin="off")
    (tmp_path / "mcp-audit").write_text("in the way")
    with pytest.raises(Denied, match="plain/echo was not called, since nothing can be recorded of it"):
        await made.member("plain").tool("echo").call({}, HELPER)
    (tmp_path / "mcp-audit").unlink()
    await made.member("plain").tool("echo").call({}, HELPER)
    await made.aclose()

    assert len(server.calls()) == 1
    assert len(list(records(tmp_path / "mcp-audit"))) == 2


async def test_if_the_operator_says_so_it_is_made_and_what_was_lost_is_counted(
    tmp_path: Path, plain: MakePlain, caplog: Any
) -> None:
    made = fleet(tmp_path, plain(tools=["echo"]), pin="off", audit={"on_failure": "warn"})
    (tmp_path / "mcp-audit").write_text("in the way")
    await made.member("plain").tool("echo").call({}, HELPER)
    (tmp_path / "mcp-audit").unlink()
    await made.member("plain").tool("echo").call({}, HELPER)
    await made.aclose()

    call, end = records(tmp_path / "mcp-audit")
    assert call["lost"] == 2
    assert "lost" not in end


async def test_ends_that_cannot_be_recorded_are_counted(tmp_path: Path, plain: MakePlain) -> None:
    made = fleet(tmp_path, plain(tools=["echo"]), pin="off", audit={"on_failure": "warn"})
    tool, folder = made.member("plain").tool("echo"), tmp_path / "mcp-audit"
    await tool.call({}, HELPER)
    head = (folder / "head").read_bytes()
    (folder / "head").write_bytes(b"damaged")
    await tool.call({}, HELPER)  # the end before, its begin and its end
    (folder / "head").write_bytes(head)
    await tool.call({}, HELPER)
    await made.aclose()

    assert [(record["kind"], record.get("lost")) for record in records(folder)] == [
        ("call", None),
        ("call", 3),
        ("end", None),
    ]


async def test_it_can_be_switched_off(tmp_path: Path, plain: MakePlain) -> None:
    made = fleet(tmp_path, plain(tools=["echo"]), pin="off", audit={"enabled": False})
    await made.member("plain").tool("echo").call({}, HELPER)
    await made.aclose()

    assert not (tmp_path / "mcp-audit").exists()


@pytest.mark.parametrize(
    "wrong", [{"signing_key": "short"}, {"on_failure": "ignore"}, {"keep_days": 0}, {"arguments": "all"}]
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AuditConfig.model_validate(wrong)


# -- the command -------------------------------------------------------------------------------------------------------


def test_an_operator_reads_the_log_and_checks_it(
    tmp_path: Path, plain: MakePlain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain(tools=["echo"]).settings().items()]
    Path("opspawn.toml").write_text("\n".join(["[plugins.mcp.servers.plain]", *lines]))
    opspawn("mcp", "approve", "plain", "--yes")
    opspawn("mcp", "call", "plain/echo", "text=hi")

    shown = opspawn("mcp", "audit")
    told = json.loads(opspawn("mcp", "audit", "--server", "plain", "--since", "1h", "--json").stdout)
    none = json.loads(opspawn("mcp", "audit", "--agent", "nobody", "--json").stdout)
    whole = opspawn("mcp", "audit", "verify")
    last = whole.stdout.split("The last: ")[1].split()[0]
    edit_me = path_of(tmp_path / "mcp-audit", 1)
    expected = opspawn("mcp", "audit", "verify", "--expect", last)
    edit_me.write_text(edit_me.read_text().replace("approve", "approVe", 1))
    broken = opspawn("mcp", "audit", "verify")
    wrong = opspawn("mcp", "audit", "verify", "--expect", "5")

    assert "plain/echo" in shown.stdout
    assert [record["kind"] for record in told] == ["approve", "call"]
    assert (told[1]["agent"], told[1]["end"]["outcome"]) == ("operator", "ok")
    assert told[1]["by"].startswith("cli:")
    assert none == []
    assert (whole.exit_code, expected.exit_code, broken.exit_code) == (0, 0, 1)
    assert "line 1: it was changed" in broken.stderr
    assert wrong.exit_code != 0
    assert "names no record" in wrong.stderr
