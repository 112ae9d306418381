"""`errors.md`: the tree of exceptions, with the words that logs, retries and problem documents use."""

from __future__ import annotations

import inspect
from typing import Any

from _reference.text import docstring, table
from opspawn import errors
from opspawn.cli.lazy import explain
from opspawn.errors import OpspawnError
from opspawn.rest.problems import STATUS

#: Arguments of those that cannot be made from a message alone.
_SAMPLES: dict[str, tuple[Any, ...]] = {
    "NotFound": ("task", "x"),
    "Limited": ("key", 1.0),
    "EmbedderMismatch": ("kept", "given"),
    "Lacking": ("tool", "name"),
    "JournalMismatch": ("key", "then", "now"),
    "InDoubt": ("key", "name", {}),
}


def pages() -> dict[str, str]:
    """The page."""
    classes = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, OpspawnError)]
    rows = []
    for one in classes:
        error = one(*_SAMPLES.get(one.__name__, ("message",)))
        rows.append(
            [
                f"[{one.__name__}](#{one.__name__.lower()})",
                f"`{one.code}`",
                f"`{error.error_type}`",
                str(STATUS.get(one.code, 500)),
                str(explain(error)[1]),
            ]
        )
    text = (inspect.getdoc(errors) or "").split("\n\n")
    parts = [
        "# Errors",
        text[0],
        "```text\n" + "\n".join(line.removeprefix("    ") for line in text[1].split("\n")) + "\n```",
        *text[2:],
        "`HTTP` is the status of the problem document, `exit` the exit code of the command line.",
        table(["Class", "code", "error_type", "HTTP", "exit"], rows),
    ]
    for one in classes:
        base = one.__bases__[0].__name__
        parts += [f"## {one.__name__}", f"A kind of `{base}`.", docstring(one)]
    return {"errors.md": "\n\n".join(parts)}
