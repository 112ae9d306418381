"""What time it is: handed to whoever needs it, so that tests can bring a time of their own."""

from __future__ import annotations

import time
from typing import Final, Protocol


class Clock(Protocol):
    """Two readings of time. To wait is the event loop's part: whoever replaces one replaces both.

    `virtual` says that time passes only in the event loop, while nothing there can go on: nobody may wait in a thread.
    """

    @property
    def virtual(self) -> bool: ...

    def time(self) -> float:
        """Seconds since 1970. It may step, and differs between machines: only the store's counts for what is due."""
        ...

    def monotonic(self) -> float:
        """Seconds from anywhere. It never steps, and counts while the machine is suspended."""
        ...


class SystemClock:
    """The clock of this machine."""

    __slots__ = ()
    virtual: Final = False
    _MONOTONIC: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    time = staticmethod(time.time)

    def monotonic(self) -> float:
        """Seconds since the machine started."""
        return time.clock_gettime(self._MONOTONIC)


SYSTEM_CLOCK: Final = SystemClock()
