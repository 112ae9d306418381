"""Names: what a tool is called for people (`SERVER/TOOL`), and for models, which take fewer characters."""

from __future__ import annotations

import hashlib
import re

_TAKEN = re.compile(r"[^A-Za-z0-9_-]")
_MOST = 64


def model_name(server: str, tool: str) -> str:
    """The name of a tool for models and policies: `SERVER__TOOL`.

    A name that models cannot take is altered, and has a part of its digest at the end, so that no two become one.
    """
    name = f"{server}__{tool}"
    fit = _TAKEN.sub("_", name)
    if fit == name and len(name) <= _MOST:
        return name
    mark = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{fit[: _MOST - len(mark) - 1]}_{mark}"


def split(full: str) -> tuple[str, str] | None:
    """Server and tool of `SERVER/TOOL`, or of `SERVER__TOOL`; None if it is neither."""
    for mark in ("/", "__"):
        server, found, tool = full.partition(mark)
        if found and server and tool:
            return server, tool
    return None
