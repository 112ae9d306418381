"""A file that a command writes: the old one stays until the new one is whole."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkstemp
from typing import TextIO

from opspawn.errors import InvalidInput


@contextmanager
def written(name: str) -> Iterator[TextIO]:
    """What is written here stands in the file once the block has ended; if it raises, the file is as it was before.

    "-" is stdout; into a pipe or a device it is written at once. A new file is for its owner alone.

    Raises: InvalidInput: it cannot be written; names it.
    """
    if name == "-":
        yield sys.stdout
        sys.stdout.flush()
        return
    place = Path(name)
    try:
        if place.exists() and not place.is_file():
            with place.open("w", encoding="utf-8") as out:
                yield out
            return
        place = place.resolve()
        handle, part = mkstemp(dir=place.parent, prefix=f".{place.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                yield out
                out.flush()
                os.fsync(handle)
            if place.exists():
                os.chmod(part, place.stat().st_mode & 0o7777)
            os.replace(part, place)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(part)
    except OSError as error:
        raise InvalidInput(f"{name!r} cannot be written: {error.strerror or error}.") from error


def holds_something(name: str) -> bool:
    """Whether there is such a file, and it is not empty."""
    return name != "-" and Path(name).is_file() and Path(name).stat().st_size > 0
