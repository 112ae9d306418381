"""What opening a database may leave behind when it fails."""

from __future__ import annotations

from pathlib import Path


class Leftovers:
    """Remembers what was missing before a database was opened, so that a failed opening can take it away again."""

    def __init__(self, path: Path) -> None:
        files = [path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")]
        self._files = [file for file in files if not file.exists()]
        self._folders = [folder for folder in path.parents if not folder.exists()]  # innermost first

    def remove(self) -> None:
        """Remove the new files that hold nothing yet, and the new folders that are empty. Never fails."""
        try:
            # Another process may have opened the same new file meanwhile: then it is no longer ours to remove.
            if all(not file.exists() or file.stat().st_size == 0 for file in self._files[:1]):
                for file in self._files:
                    file.unlink(missing_ok=True)
            for folder in self._folders:
                if folder.exists():
                    folder.rmdir()
        except OSError:
            return
