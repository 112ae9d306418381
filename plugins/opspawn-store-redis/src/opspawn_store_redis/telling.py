"""Telling of a fault that lasts: at once, then at most once a minute, while it is tried less and less often."""

from __future__ import annotations

import time

from loguru import logger

from opspawn_store_redis.faults import as_store_error
from opspawn_store_redis.settings import ConnectionConfig

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 30.0
_AGAIN_S = 60.0


class Telling:
    """Tells that something does not work, of several that try it as one. `what` begins the sentence."""

    def __init__(self, what: str, config: ConnectionConfig, *, error_type: str) -> None:
        self._what = what
        self._error_type = error_type
        self._config = config
        self._told: dict[str, float] = {}  # when, by what a fault is in general
        self._pauses: dict[str, float] = {}

    def worked(self, who: str = "") -> None:
        """What `who` tried did work: its next fault is a new one."""
        if self._pauses.pop(who, None) is not None and not self._pauses:
            self._told.clear()

    def failed(self, error: Exception, who: str = "") -> float:
        """Tell of it, unless that was done; how long `who` should wait before it tries again, in seconds."""
        fault = as_store_error(error, self._config, writing=False)
        general = str(fault).partition(": ")[0]
        now = time.monotonic()
        if now - self._told.get(general, -_AGAIN_S) >= _AGAIN_S:
            self._told[general] = now
            logger.bind(error_type=self._error_type).warning("{} {}", self._what, fault)
        pause = self._pauses.get(who, FIRST_PAUSE_S)
        self._pauses[who] = min(pause * 2, LONGEST_PAUSE_S)
        return pause
