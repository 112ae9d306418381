"""What is used of lancedb, imported without the clients of its cloud, which take twice as long as all the rest of it.

lancedb needs some records of the package that holds these clients. Python runs a package before what is in it; here the
package is there without having been run, and is run as soon as anybody asks it for more than its parts.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

_CLIENTS = "lance_namespace_urllib3_client"


def without_running(name: str) -> None:
    """Have a package be there that is run when something is wanted of it; nothing if it is there, or missing."""
    spec = None if name in sys.modules else find_spec(name)
    if spec is None or spec.loader is None:
        return
    loader, package = spec.loader, module_from_spec(spec)

    def wanted(attribute: str) -> Any:
        if attribute.startswith("__"):  # Python asks for some of these, and a package lacks most
            raise AttributeError(attribute)
        if vars(package).pop("__getattr__", None) is not None:
            loader.exec_module(package)
        return ModuleType.__getattribute__(package, attribute)

    vars(package)["__getattr__"] = wanted
    sys.modules[name] = package


without_running(_CLIENTS)

import lancedb  # noqa: E402
from lancedb.background_loop import LOOP  # noqa: E402
from lancedb.index import FTS, Bitmap, BTree, IvfSq  # noqa: E402
from lancedb.query import FullTextOperator, MatchQuery  # noqa: E402

AND = FullTextOperator.AND

__all__ = ["AND", "FTS", "LOOP", "BTree", "Bitmap", "IvfSq", "MatchQuery", "lancedb"]
