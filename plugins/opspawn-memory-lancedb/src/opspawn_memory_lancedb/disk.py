"""What lies on the disk: lancedb leaves it to the system when that is written; here it is made sure of."""

from __future__ import annotations

import os
from pathlib import Path

#: Of the folder of a table, those whose files are needed to read it.
_FOLDERS = ("data", "_deletions", "_versions")


class Disk:
    """The folder of a table, and which of its files are known to be on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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
        os.fsync(file)
    finally:
        os.close(file)
