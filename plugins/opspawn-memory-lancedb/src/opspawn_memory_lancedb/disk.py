"""What lies on the disk: lancedb leaves it to the system when that is written; here it is made sure of."""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

#: Of the folder of a table, those whose files are needed to read it.
_FOLDERS = ("data", "_deletions", "_versions")
#: A large file goes to the disk in pieces of so many bytes. A file system with a journal has whoever syncs wait for all
#: that has a place on the disk and is not there yet, of any file: so one who adds meanwhile waits for a piece.
_PIECE = 4 << 20
_sync_range: Any = getattr(ctypes.CDLL(None), "sync_file_range", None)  # of Linux; elsewhere a file goes as a whole
if _sync_range is not None:
    _sync_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_BEGUN_AND_DONE = 7  # wait for what is under way, begin, and wait for that
_VERSION = ".manifest"
_LAST = 2**64 - 1


class Disk:
    """The folder of a table, and which of its files are known to be on the disk.

    Beside it a file names the latest version that is. LanceDB opens whatever version it finds to be the last: so one
    that is gone would not be missed. That file itself is not made sure of; an earlier one only says less.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.latest = folder.with_name(f"{folder.stem}.version")
        self._sure: set[str] = set()
        for name in _FOLDERS:
            self._sure.update(_files(folder / name))

    def sync(self) -> None:
        """Have what was written be on the disk."""
        for name in _FOLDERS:
            folder = self.folder / name
            there = _files(folder)
            if new := [path for path in there if path not in self._sure]:
                for path in new:
                    _fsync(path)
                _fsync(str(folder))
                self._sure.update(new)
        _fsync(str(self.folder))
        self._sign(self.version())

    def _sign(self, version: int) -> None:
        aside = self.latest.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        with suppress(OSError):  # the version is there all the same
            aside.write_text(f"{version}\n")
            aside.replace(self.latest)

    def version(self) -> int:
        """The latest version that is there, by the names of its files; 0 if there is none."""
        names = [os.path.basename(path).removesuffix(_VERSION) for path in _files(self.folder / "_versions")]
        numbers = [int(name) for name in names if name.isdigit()]
        # As LanceDB names them, the latest is the first in a list of files.
        return max((_LAST - one if one > _LAST // 2 else one for one in numbers), default=0)

    def lacks(self) -> int | None:
        """The version that was there and is missing, if no later one is there."""
        try:
            signed = int(self.latest.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return signed if self.version() < signed else None

    def stamp(self) -> int | None:
        """When a version was last added or removed, in nanoseconds; None if that cannot be told."""
        try:
            return os.stat(self.folder / "_versions").st_mtime_ns
        except OSError:
            return None

    def size(self) -> int:
        """In bytes."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def touched(self) -> set[int]:
        """Which fragments have rows that were taken out and are still in their files."""
        names = [os.path.basename(path) for path in _files(self.folder / "_deletions")]
        return {int(name.split("-")[0]) for name in names if name.split("-")[0].isdigit()}


def _files(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if entry.is_file()]
    except FileNotFoundError:
        return []


def _fsync(path: str) -> None:
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        size = os.fstat(file).st_size
        if _sync_range is not None and size > _PIECE:
            for start in range(0, size, _PIECE):
                _sync_range(file, start, _PIECE, _BEGUN_AND_DONE)
        os.fsync(file)
    finally:
        os.close(file)
