"""Errors of LanceDB in words for a user."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from opspawn.errors import MemoryFailed

# What an object store answered, and what the network did, somewhere in what Rust shows of its nested errors.
_ANSWERED = re.compile(r"<Code>([^<]*)</Code>\s*<Message>([^<]*)</Message>")
_CONNECTING = re.compile(r'"tcp connect error", ([^,]+),.*message: \\?"([^"\\]+)', re.DOTALL)
_LONGEST = 300  # characters


def told(error: BaseException) -> str:
    """An error of lancedb in one line, its cause first."""
    words = str(error)
    if answered := _ANSWERED.search(words):
        return f"the object store answers {answered[1]}: {answered[2]}".rstrip(".")
    if failed := _CONNECTING.search(words):
        return f"no connection to {failed[1]}: {failed[2]}"
    words = " ".join(words.split(", /")[0].split()) or type(error).__name__
    return words.rstrip(".")[:_LONGEST]


@contextmanager
def as_failed() -> Iterator[None]:
    """Has an error of the file system be told as one of the memory. Raises: MemoryFailed."""
    try:
        yield
    except OSError as error:
        raise MemoryFailed(
            f"The memory cannot do its work: {told(error)}.",
            remedy="See to it that its folder is there, that it may be written, and that its disk has room.",
        ) from error
