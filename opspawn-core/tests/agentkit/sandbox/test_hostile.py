"""Hostile tools in the sandbox "process", as root and as an ordinary user: each is contained, and says so clearly.

Where this kernel lacks a wall, a required sandbox must refuse every call and name what is missing; the tests then
insist on that. What each wall does by itself is in `test_walls.py`.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from leftovers import names_of_processes

from opspawn.agentkit.sandbox.promises import Held, gaps

DENIED = "Permission denied"
#: The name of a call and what must come of it: a part of the error, or ("value", what is returned).
OUTCOMES: dict[str, Any] = {
    # files
    "read_shadow": DENIED,
    "read_passwd": DENIED,
    "read_outside": DENIED,
    "list_root": DENIED,
    "list_top": DENIED,
    "list_processes": DENIED,
    "write_outside": DENIED,
    "remove_outside": DENIED,
    "empty_outside": DENIED,
    "follow_a_link": DENIED,
    "move_in": ("Permission denied", "Invalid cross-device link"),
    "fill_the_disk": ("8 MiB, then errno 28", "its temporary folder grew over 8 MiB"),
    "nest_folders": "3000",
    "open_files": "252 files, then errno 24",
    # secrets and other processes
    "read_secret": "not there",
    "read_environment_of_parent": DENIED,
    "signal_parent": ("No such process", "Operation not permitted"),
    "trace_parent": "errno 1",
    # network and programs
    "connect_tcp": DENIED,
    "send_udp": DENIED,
    "connect_abstract": DENIED,
    "connect_path": DENIED,
    "run_program": DENIED,
    "become_another_program": DENIED,
    "run_own_program": DENIED,
    "become_root": ("Operation not permitted", "Invalid argument"),
    "make_namespace": "errno 1",
    "memory_file": "errno 1",
    "io_uring": "errno 1",
    # time, memory, processes
    "endless_loop": "The tool 'endless_loop' did not end within 1.5 s.",
    "ignore_sigterm": "The tool 'ignore_sigterm' did not end within 1.5 s.",
    "burn_cpu": "used up its 1 s of CPU time",
    "fork_bomb": "7 processes, then errno 11",
    "allocate": "It ran out of its memory.",
    "leave_a_daemon": "left",
    # answers
    "print_much": "printed",
    "return_much": "its answer is larger than 4 MiB",
    "close_everything": "still here",
    "close_the_answer": "ended without an answer",
    "answer_nonsense": "wrote something else than an answer",
    "answer_another_shape": "wrote something else than an answer",
    "leave_at_once": "ended without an answer, with exit code 3. It printed: before I go",
    "crash": "was killed by SIGSEGV",
    "leave": "It called sys.exit('bye').",
    "huge_error": "ValueError: xxx",
    "endless_name": "Endless",
    "not_json": "returned object, which cannot be expressed in JSON",
    "a_circle": "returned list, which cannot be expressed in JSON",
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_hostile_tool_is_contained(name: str, user: str, hostile: dict[str, dict[str, Any]]) -> None:
    told = hostile[user]["outcomes"][name]
    said = told["error"] if "error" in told else str(told["value"])
    wanted = OUTCOMES[name]

    if missing := _missing(user, hostile):
        assert told["type"] == "denied"
        assert all(one in said for one in missing)
        return
    assert any(one in said for one in (wanted if isinstance(wanted, tuple) else (wanted,))), said
    assert "Traceback" not in said
    assert len(said) < 10_000


def test_every_call_has_an_outcome(user: str, hostile: dict[str, dict[str, Any]]) -> None:
    assert set(hostile[user]["outcomes"]) == set(OUTCOMES)


def test_the_worker_is_unharmed(user: str, hostile: dict[str, dict[str, Any]]) -> None:
    told = hostile[user]

    assert told["precious"] == "precious"
    assert told["udp"] is False
    assert "value" in told["after"] or _missing(user, hostile)
    assert told["files"] < 25


def test_nothing_is_left_of_the_tools(hostile: dict[str, dict[str, Any]]) -> None:
    assert "hostile-daemon" not in names_of_processes()
    for told in hostile.values():
        if "value" in told["after"]:
            assert not os.path.exists(os.path.dirname(told["after"]["value"]))


def _missing(user: str, hostile: dict[str, dict[str, Any]]) -> list[str]:
    """What this kernel cannot promise to this user."""
    held = hostile[user]["held"]
    return gaps(Held(**held) if held else Held(), network=False)
