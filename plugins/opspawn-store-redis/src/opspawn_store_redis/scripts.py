"""The Lua scripts by name: each is what all begin with, what those that write share, and its own."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Literal

Name = Literal["commit", "claim", "renew", "era", "find", "events", "read", "kept"]

WRITES = ("commit", "claim", "renew", "era")


@cache
def text(name: Name) -> str:
    """The whole script."""
    shared = ("base", "write") if name in WRITES else ("base",)
    parts = (*shared, *(("checks", "tasks", "others", "restoring") if name == "commit" else ()), name)
    folder = files("opspawn_store_redis") / "lua"
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in parts)


@cache
def digest(name: Name) -> str:
    """What EVALSHA calls it."""
    return hashlib.sha1(text(name).encode(), usedforsecurity=False).hexdigest()
