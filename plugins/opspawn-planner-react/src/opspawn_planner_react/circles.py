"""Whether a model turns in circles: the same calls, or the same few in turn, again and again."""

from __future__ import annotations

import json
from collections.abc import Sequence

from opspawn.contracts.model import ToolCall

_LONGEST = 4  # turns of a circle


class Circles:
    """The calls of a run so far. Ids do not count, since they are always new."""

    def __init__(self, max_repeats: int) -> None:
        self._max = max_repeats
        self._turns: list[str] = []
        self._warned = False

    def turn(self, calls: Sequence[ToolCall]) -> tuple[int, bool]:
        """How often the circle that `calls` close has been gone through, 0 for less than `max_repeats`; and whether the
        model was told of it before.
        """
        self._turns.append(json.dumps([[call.name, call.arguments, call.malformed] for call in calls], sort_keys=True))
        del self._turns[: -self._max * _LONGEST - _LONGEST]
        for length in range(1, _LONGEST + 1):
            times = self._times(length)
            if times >= self._max:
                warned, self._warned = self._warned, True
                return times, warned
        self._warned = False
        return 0, False

    def _times(self, length: int) -> int:
        turns = self._turns
        last, times = turns[-length:], 0
        while (end := len(turns) - times * length) >= length and turns[end - length : end] == last:
            times += 1
        return times
