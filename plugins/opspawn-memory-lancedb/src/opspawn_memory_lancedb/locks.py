"""Locks between processes: of the operating system, on a file, so that whoever dies lets go."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from opspawn.errors import MemoryFailed

_STEP_S = 0.002


class FileLock:
    """One lock, for one thread at a time of one process at a time; each holder opens the file anew.

    Who waits holds a second lock, the place next in line: so who has just let go does not get it again before him.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = path.with_suffix(".next")

    @contextmanager
    def held(self, timeout_s: float) -> Iterator[None]:
        """Hold it. Raises: MemoryFailed: somebody else held it for so long."""
        until = time.monotonic() + timeout_s
        place = _take(self._next, until)
        try:
            file = None if place is None else _take(self._path, until)
        finally:
            if place is not None:
                os.close(place)
        if file is None:
            raise MemoryFailed(
                f"Another process has held {self._path} for {timeout_s:g} seconds.",
                remedy="Try again; or raise busy_timeout_s in [plugins.lancedb].",
            )
        try:
            yield
        finally:
            os.close(file)

    @contextmanager
    def if_free(self) -> Iterator[bool]:
        """Hold it if nobody else does; says whether."""
        file = _take(self._path, 0.0)
        try:
            yield file is not None
        finally:
            if file is not None:
                os.close(file)


class LastWriter:
    """Tells whether anybody else has written since; read and signed by whoever holds `writing`.

    It need not be on the disk: a machine that starts again starts with writers that know nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = os.urandom(16)

    def is_me(self) -> bool:
        """Whether nobody has signed after this one."""
        try:
            return self._path.read_bytes() == self._name
        except FileNotFoundError:
            return False

    def sign(self) -> None:
        """Say that this one writes, before it does."""
        self._path.write_bytes(self._name)


def _take(path: Path, until: float) -> int | None:
    """The open, locked file; None if that did not come about in time."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return file
            except BlockingIOError:
                if time.monotonic() >= until:
                    os.close(file)
                    return None
                time.sleep(_STEP_S)
    except BaseException:
        with suppress(OSError):
            os.close(file)
        raise
