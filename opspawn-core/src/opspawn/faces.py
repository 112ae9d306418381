"""Packages that show names of several modules, and import each when it is first used. This file imports nothing else of
the package, so that naming one costs no more than what it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def on_first_use(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose names live in other modules, as PEP 562 has it.

    Args:
        package: its `__name__`.
        homes: by name, the module, as `from` would name it in the package: ".errors".
    """

    def found(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(homes[name], package), name)
        setattr(sys.modules[package], name, value)
        return value

    return found
