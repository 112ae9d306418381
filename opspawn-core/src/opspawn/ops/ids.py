"""Ids of tasks: `t-` and 24 hexadecimal digits, of which the first eight tell the second in which the tree began.

So tasks that are made together stand together in a store's indexes, and a commit of many writes few pages. The digits
tell nothing else, and nothing reads them.
"""

from __future__ import annotations

import time
from hashlib import blake2b
from os import urandom


def new_id() -> str:
    """Return an id that no task has."""
    return f"t-{int(time.time()):08x}{urandom(8).hex()}"


def derived_id(task: str, what: str) -> str:
    """Return the id of a task that follows from another one: the same for the same `what`, near to it in any order."""
    digest = blake2b(f"{task}\n{what}".encode(), digest_size=8).hexdigest()
    return f"t-{task.removeprefix('t-')[:8]}{digest}"


def child_id(parent: str, key: str, life: int) -> str:
    """Return the id of a child, so that a half-made fan-out resumes with the same children."""
    return derived_id(parent, f"{key}\n{life}")


def agent_of(handler: str) -> str | None:
    """The agent, of the app or remote, whose handler this is; None for any other."""
    kind, _, name = handler.partition("/")
    return name if kind in ("agent", "remote") else None
