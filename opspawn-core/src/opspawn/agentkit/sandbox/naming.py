"""How another process finds a function: by its module and its name in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opspawn.errors import ConfigError

_REMEDY = "Write it as 'def' at the top of a module of its own, and import it from there."


@dataclass(frozen=True, slots=True)
class Where:
    """Where a function is; `file` is the real path of its module's file, if it has one."""

    module: str
    qualname: str
    file: str | None


def check_name(tool: str, function: Callable[..., Any]) -> None:
    """Raises: ConfigError: no other process could import the function by its name."""
    module, qualname = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if module is None or qualname is None or hasattr(function, "__self__"):
        what = "is a method or an object, which exists in this process alone"
    elif "<lambda>" in qualname:
        what = "is a lambda, which has no name"
    elif "<locals>" in qualname:
        what = "is defined within a function, and cannot be imported by its name"
    elif module == "__main__":
        what = "is in the script or notebook that runs, which cannot be imported by another process"
    else:
        return
    raise ConfigError(f"The tool {tool!r} cannot run in a process of its own: it {what}.", remedy=_REMEDY)


def locate(tool: str, function: Callable[..., Any]) -> Where:
    """Where the function is. Raises: ConfigError: it is not under its name."""
    check_name(tool, function)
    module, qualname = function.__module__, function.__qualname__
    try:
        found = found_in(sys.modules[module], qualname)
    except (KeyError, AttributeError):
        found = None
    if found is not function and getattr(found, "__wrapped__", None) is not function:
        raise ConfigError(
            f"The tool {tool!r} cannot run in a process of its own: {module} has another {qualname!r}, or none.",
            remedy=_REMEDY,
        )
    file = getattr(sys.modules[module], "__file__", None)
    return Where(module, qualname, os.path.realpath(file) if file else None)


def found_in(module: Any, qualname: str) -> Any:
    """What a module has under a dotted name. Raises: AttributeError."""
    found = module
    for part in qualname.split("."):
        found = getattr(found, part)
    return found
