"""`python.md`: what `from opspawn import ...` gives, and the fakes of `opspawn.testing`."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

import opspawn
from _reference.text import docstring, fields, head, python, signature
from opspawn.opscore import OpsCore
from opspawn.sync_opscore import SyncOpsCore
from opspawn.testing import ScriptedModel


def pages() -> dict[str, str]:
    """The page."""
    parts = [
        "# Python",
        "What `from opspawn import …` gives. Everything else lives in the named subpackages: contracts for plugin "
        "authors in `opspawn.contracts` (see [Hooks](hooks.md)), errors in `opspawn.errors` (see [Errors](errors.md)), "
        "fakes and contract suites in `opspawn.testing`. A name with an underscore may change at any time.",
    ]
    for name in opspawn.__all__:
        thing = getattr(opspawn, name)
        parts += [f"## {name}"]
        if name == "RunContext":
            parts += [docstring(thing), "Its methods are those of [RunContext](hooks.md#runcontext)."]
        elif inspect.isclass(thing) and issubclass(thing, Exception):
            parts += [docstring(thing), "See [Errors](errors.md)."]
        else:
            parts += described(thing)
    parts += ["## opspawn.opscore.OpsCore", "Made by `async with OpsCore.open(app) as ops`.", *described(OpsCore)]
    parts += ["## opspawn.sync_opscore.SyncOpsCore", *described(SyncOpsCore)[:2], "Its methods are those of `OpsCore`."]
    parts += ["## opspawn.testing.ScriptedModel", *described(ScriptedModel)]
    return {"python.md": "\n\n".join(parts)}


def described(thing: Any) -> list[str]:
    """A function or class with its signature, text, and public methods."""
    if inspect.isfunction(thing):
        return [python(signature(thing)), docstring(thing)]
    parts: list[str] = []
    own = vars(thing).get("__init__")
    if "__dataclass_fields__" in vars(thing):
        parts += [fields(thing), docstring(thing)]
    else:
        parts += [python(_constructor(thing)), docstring(thing)]
        if own is not None and own.__doc__:
            parts.append(docstring(own))
    for name, member in vars(thing).items():
        if not name.startswith("_") and inspect.isfunction(member) and member.__doc__ and name != "handler":
            parts += [f"### {thing.__name__}.{name}", python(signature(member)), docstring(member)]
    return parts


def _constructor(cls: type[Any]) -> str:
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls.__init__)))
    node = tree.body[0]
    assert isinstance(node, ast.FunctionDef)
    return head(cls.__name__, node.args, without_self=True)
