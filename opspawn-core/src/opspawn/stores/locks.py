"""Who is alive: every worker holds an operating-system lock on a file of its own.

The system frees the lock when the process ends, however it ends, so a lock that can be had belongs to a dead worker. A
worker that is frozen keeps its lock; its leases run out by time. Files are `<database>.workers/<worker>.lock`.
A missing file says nothing: somebody may have removed it from under a living worker.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from opspawn.errors import StoreUnusable

_LOOK_EVERY_S = 0.5
_PATIENCE_S = 2.0  # for somebody who is just burying our former life
_SUFFIX = ".lock"


@dataclass(frozen=True, slots=True)
class DeadWorker:
    """A worker whose lock we now hold, so that nobody takes its name before it is buried."""

    worker: str
    file: int
    path: Path

    def bury(self, committed: bool) -> None:
        """Remove the lock file if its leases were ended, and let the lock go."""
        if committed:
            self.path.unlink(missing_ok=True)
        os.close(self.file)


class WorkerLocks:
    """The locks that this store holds, and the way to find the dead. Safe from several threads."""

    def __init__(self, database: str) -> None:
        self._folder = Path(database + ".workers")
        self._guard = threading.Lock()
        self._held: dict[str, int] = {}
        self._reborn: set[str] = set()
        self._next_look = 0.0
        self.peers = False  # whether, at the last look, other workers were alive

    @property
    def workers(self) -> list[str]:
        """The workers whose locks we hold."""
        return list(self._held)

    def holds(self, worker: str) -> bool:
        """Whether we hold the lock of this worker."""
        return worker in self._held

    def hold(self, worker: str) -> None:
        """Take the worker's lock for as long as this process lives. Blocks for up to 2 s; does nothing if we hold it.

        Raises: StoreUnusable: a living process uses the same name.
        """
        if worker in self._held:
            return
        with self._guard:
            if worker in self._held:
                return
            self._folder.mkdir(exist_ok=True)
            give_up = time.monotonic() + _PATIENCE_S
            while (file := _try_lock(self._path(worker), create=True)) is None:
                if time.monotonic() >= give_up:
                    raise StoreUnusable(
                        f"Another process already works as {worker!r} on this database.",
                        remedy="Give each worker a name of its own.",
                    )
                time.sleep(0.01)
            self._reborn.add(worker)
            self._held[worker] = file

    def reborn(self, worker: str) -> bool:
        """True once after `hold`: leases under this name are then from a former life."""
        if worker not in self._reborn:
            return False
        self._reborn.discard(worker)
        return True

    def still_reborn(self, worker: str) -> None:
        """What was done about it was undone: say so again."""
        self._reborn.add(worker)

    def dead(self) -> list[DeadWorker]:
        """Workers whose lock is free, each to be buried by the caller. Looks only twice a second, else says nobody."""
        now = time.monotonic()
        if now < self._next_look:
            return []
        self._next_look = now + _LOOK_EVERY_S
        dead = []
        peers = False
        for path in self._folder.glob("*" + _SUFFIX):
            worker = unquote(path.name.removesuffix(_SUFFIX))
            if worker in self._held:
                continue
            file = _try_lock(path, create=False)
            if file is None:
                peers = True
            else:
                dead.append(DeadWorker(worker, file, path))
        self.peers = peers
        return dead

    def close(self) -> None:
        """Let all locks go, and remove their files, and the folder if it is empty then."""
        with self._guard:
            for worker, file in self._held.items():
                self._path(worker).unlink(missing_ok=True)
                os.close(file)
            self._held.clear()
            try:
                self._folder.rmdir()
            except OSError:
                return  # others still work here

    def _path(self, worker: str) -> Path:
        return self._folder / (quote(worker, safe="") + _SUFFIX)


def _try_lock(path: Path, create: bool) -> int | None:
    """The open, locked file, or None when another has it or it is going away."""
    try:
        file = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o644)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held it may have removed the file between our opening and locking: then we hold a ghost.
        if os.fstat(file).st_ino == os.stat(path).st_ino:
            return file
    except (BlockingIOError, FileNotFoundError):
        os.close(file)
        return None
    os.close(file)
    return None
