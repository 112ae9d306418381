"""Tools that mean no harm."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import subprocess
import sys
import time
from datetime import date
from typing import Any

from opspawn import ModelRetry, Sandbox, ToolContext, ToolError, tool

MARK = {"calls": 0}


@tool(effect="read", sandbox="process")
def add(a: int, b: int = 2) -> int:
    """Add two numbers."""
    return a + b


@tool(effect="read", sandbox="process")
async def later(day: date) -> str:
    await asyncio.sleep(0)
    return f"{type(day).__name__} {day.year}"


@tool(effect="read", sandbox="process")
def who(context: ToolContext[dict[str, Any]]) -> list[Any]:
    return [context.idempotency_key, context.agent, context.deps]


@tool(effect="read", sandbox="process")
def count() -> int:
    """How often this process was called: always once."""
    MARK["calls"] += 1
    return MARK["calls"]


@tool(effect="read", sandbox="process")
def fail(how: str) -> None:
    print("something went wrong", file=sys.stderr)
    raise {"retry": ModelRetry("Try a noun."), "tool": ToolError("It is lost."), "key": KeyError("size")}[how]


@tool(effect="read", sandbox="process")
def surroundings() -> dict[str, Any]:
    with open("note", "w", encoding="utf-8") as file:
        file.write("mine")
    return {"folder": os.getcwd(), "environment": dict(os.environ), "files": os.listdir()}


@tool(effect="read", sandbox=Sandbox(env=["OPEN_DATA"]))
def variable(name: str) -> str | None:
    return os.environ.get(name)


@tool(effect="read", sandbox="process", timeout_s=30)
def sleep_with_a_child(name: str) -> None:
    """Become known by a name, have a child of that name, and sleep."""
    ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0)
    os.fork()
    with open("asleep", "w", encoding="utf-8"):
        time.sleep(60)


def read_text(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def write_text(path: str, text: str) -> str:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return "written"


def run_echo() -> str:
    return subprocess.run(["/bin/echo", "ran"], capture_output=True, text=True, check=True).stdout


def ask_port(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
        return one.recv(100).decode()


def imported_late() -> str:
    import colorsys

    return colorsys.__name__
