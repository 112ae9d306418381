"""What each wall holds back by itself, and what is promised where one is missing.

A call passes several walls; taken one at a time, each shows that it is the one that holds. What a wall does not hold
back is shown as well: that is what the documentation says, and how a tool that never tried would be noticed.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import gentle_tools as gentle
import pytest
from leftovers import names_of_processes
from loguru import logger

from opspawn import Sandbox
from opspawn.agentkit.sandbox.folders import remove
from opspawn.agentkit.sandbox.process import ProcessRunner
from opspawn.agentkit.sandbox.promises import Held, gaps
from opspawn.agentkit.sandbox.report import sandbox_report
from opspawn.contracts.tool import ToolContext
from opspawn.errors import ToolError

DENIED = "Permission denied"
UNREACHABLE = "unreachable"
#: The only wall that stands, and for each tool what must come of it.
ALONE: dict[str, dict[str, str]] = {
    "landlock": {
        "read_outside": DENIED,
        "list_root": DENIED,
        "connect_tcp": DENIED,
        "connect_abstract": "Operation not permitted",
        "signal_parent": "Operation not permitted",
        "trace_parent": "errno 1",
        "read_environment_of_parent": DENIED,
        "run_program": DENIED,
        "send_udp": "sent",
        "connect_path": "connected",
        "leave_a_daemon": "left",
        "fill_the_disk": "its temporary folder grew over 8 MiB",
    },
    "seccomp": {
        "connect_tcp": DENIED,
        "send_udp": DENIED,
        "connect_abstract": DENIED,
        "connect_path": DENIED,
        "trace_parent": "errno 1",
        "run_program": DENIED,
        "io_uring": "errno 1",
        "memory_file": "errno 1",
        "make_namespace": "errno 1",
        "read_passwd": "root:",
    },
    "namespaces": {
        "connect_tcp": UNREACHABLE,
        "send_udp": UNREACHABLE,
        "signal_parent": "No such process",
        "fill_the_disk": "8 MiB, then errno 28",
        "leave_a_daemon": "left",
        "read_passwd": "root:",
    },
    "": {
        "read_passwd": "root:",
        "read_secret": "not there",
        "leave_a_daemon": "left",
        "allocate": "It ran out of its memory.",
        "burn_cpu": "used up its 1 s of CPU time",
        "open_files": "252 files, then errno 24",
    },
}
HELD = {
    "landlock": lambda held: held["landlock"] >= 6,
    "seccomp": lambda held: held["seccomp"],
    "namespaces": lambda held: set(held["namespaces"]) == {"net", "ipc", "pid", "mount"},
    "": lambda held: True,
}


@pytest.fixture(scope="session")
def alone(worker: Any) -> dict[str, Any]:
    """What came of the tools behind each wall, all at the same time, by an ordinary user."""
    running = {
        wall: worker.start("ordinary", walls=wall, tools=",".join(tools), policy="best_effort")
        for wall, tools in ALONE.items()
    }
    return {wall: worker.told(process) for wall, process in running.items()}


@pytest.mark.parametrize(("wall", "name"), [(wall, name) for wall, tools in ALONE.items() for name in tools])
def test_a_wall_alone_holds_what_is_its_to_hold(wall: str, name: str, alone: dict[str, Any]) -> None:
    told = alone[wall]["outcomes"][name]
    if not HELD[wall](alone[wall]["held"]):  # this kernel has not got it: then nobody may think so
        assert gaps(Held(**alone[wall]["held"]), network=False)
        return

    assert ALONE[wall][name] in told.get("error", str(told.get("value")))


def test_daemons_are_found_and_ended_without_namespaces_too(alone: dict[str, Any]) -> None:
    assert all(
        told["outcomes"].get("leave_a_daemon", {"value": "left"}) == {"value": "left"} for told in alone.values()
    )
    assert "hostile-daemon" not in names_of_processes()


def test_what_is_missing_is_said_once_in_the_log(alone: dict[str, Any]) -> None:
    assert alone[""]["log"].count("Sandboxes keep less than they should here") == 1


@pytest.mark.parametrize("walls", [(), ("landlock",), ("seccomp",), ("namespaces",)])
async def test_a_required_sandbox_does_not_begin_where_it_cannot_keep_its_promises(walls: tuple[str, ...]) -> None:
    runner = ProcessRunner(walls)
    try:
        with pytest.raises(ToolError) as caught:
            await gentle.add.placed(Sandbox(), runner).call({"a": 1}, ToolContext("k", "a"))
    finally:
        await runner.aclose()

    assert caught.value.error_type == "denied"
    assert "was not run, since its sandbox is required" in str(caught.value)
    assert runner.held is not None
    assert all(gap in str(caught.value) for gap in gaps(runner.held, network=False))


@pytest.mark.parametrize(
    ("held", "network", "words"),
    [
        (Held(), False, ["files", "network", "Unix sockets", "signal", "without limit"]),
        (Held(landlock=7, seccomp=True, counted=True), False, []),
        (Held(landlock=5, seccomp=True, counted=True), False, ["signal"]),
        (Held(landlock=5, seccomp=True, namespaces=("pid",), counted=True), False, []),
        (Held(landlock=2, seccomp=True, namespaces=("pid",), counted=True), False, ["can empty files"]),
        (Held(landlock=7, namespaces=("net", "ipc", "pid"), counted=True), False, []),
        (Held(landlock=7, namespaces=("ipc", "pid"), counted=True), True, ["Unix sockets"]),
        (Held(landlock=7, seccomp=True, counted=False), False, ["without limit"]),
    ],
)
def test_each_promise_has_walls_that_keep_it(held: Held, network: bool, words: list[str]) -> None:
    found = gaps(held, network=network)

    assert len(found) == len(words)
    assert all(word in gap for word, gap in zip(words, found, strict=True))


def test_the_report_says_what_stands_here_and_what_follows() -> None:
    findings = sandbox_report()

    assert len(findings) == 5
    assert findings[-1].what.startswith("Sandboxes ")
    assert all((finding.remedy is None) == (finding.level == "ok") for finding in findings)


def test_whatever_a_tool_made_of_its_folder_is_removed(tmp_path: Any) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    before = os.getcwd()
    try:
        os.chdir(folder)
        for _ in range(100):  # deeper than a path may be long
            os.mkdir("d" * 200)
            os.chdir("d" * 200)
    finally:
        os.chdir(before)
    (folder / "closed").mkdir()
    (folder / "closed" / "file").touch()
    (folder / "closed").chmod(0)
    (folder / "link").symlink_to("/etc")

    remove(str(folder))

    assert not folder.exists()
    assert os.path.exists("/etc/passwd")


async def test_the_log_of_a_runner_tells_gaps_once() -> None:
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level="WARNING", format="{message}")
    runner = ProcessRunner(("landlock",))
    add = gentle.add.placed(Sandbox(policy="best_effort"), runner)
    try:
        assert await asyncio.gather(*(add.call({"a": n}, ToolContext("k", "a")) for n in range(3))) == [2, 3, 4]
    finally:
        logger.remove(sink)
        await runner.aclose()

    assert len(lines) == 1
