"""What opening a database may leave behind when it fails."""

from __future__ import annotations

import os
from pathlib import Path


class Leftovers:
    """Remembers what was missing before a database was opened, so that a failed opening can take it away again."""

    def __init__(self, path: Path) -> None:
        # os.path: a path that is no path at all is just missing; the opening itself will say what is wrong with it.
        self._path = path
        self._files = [f"{path}{suffix}" for suffix in ("", "-wal", "-shm") if not os.path.exists(f"{path}{suffix}")]
        self._folders = [folder for folder in path.parents if not os.path.exists(folder)]  # innermost first

    def remove(self) -> None:
        """Remove the new files if the new database is empty, and the new folders that are empty. Never fails."""
        try:
            # One that is not empty was made by another process meanwhile, and is not ours to remove.
            if not os.path.exists(self._path) or os.path.getsize(self._path) == 0:
                for file in filter(os.path.exists, self._files):
                    os.unlink(file)
            for folder in filter(os.path.exists, self._folders):
                os.rmdir(folder)
        except OSError:
            return
