"""The Lua scripts by name: each is what all begin with, what those that write share, and its own."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Literal

Name = Literal["commit", "restore", "claim", "renew", "era", "find", "events", "read", "kept"]

WRITES = ("commit", "restore", "claim", "renew", "era")
_COMMIT = ("checks", "tasks", "others")
#: What follows the shared beginning where that is more than one file; "restore" is a commit that knows more operations.
_MORE: dict[Name, tuple[str, ...]] = {"commit": (*_COMMIT, "commit"), "restore": (*_COMMIT, "restoring", "commit")}


@cache
def text(name: Name) -> str:
    """The whole script."""
    shared = ("base", "write") if name in WRITES else ("base",)
    folder = files("opspawn_store_redis") / "lua"
    parts = (*shared, *_MORE.get(name, (name,)))
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in parts)


@cache
def digest(name: Name) -> str:
    """What EVALSHA calls it."""
    return hashlib.sha1(text(name).encode(), usedforsecurity=False).hexdigest()
