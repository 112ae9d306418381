"""Which process a memory is of: threads, locks and connections do not live on in a forked child."""

from __future__ import annotations

import os

from opspawn.errors import MemoryFailed


class Process:
    """The process in which it was made."""

    def __init__(self) -> None:
        self._id = os.getpid()

    def is_child(self) -> bool:
        """Whether this runs in a child that was forked since."""
        return os.getpid() != self._id

    def check(self) -> None:
        """Raises: MemoryFailed: this runs in a forked child, where nothing would ever answer."""
        if self.is_child():
            raise MemoryFailed(
                "This memory was opened before the process forked, and cannot be used in the child.",
                remedy='Open it in the child; start children by "spawn" where they need memory.',
            )
