"""What is in the table already, as numbers of 64 bits: so what is new is known to be, without a look at the table.

A number that is not here is in no row. One that is here may be in one: a row may have been changed or forgotten, or
another item may share the number by chance. Then the table is asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

#: Beyond so many rows their numbers are not held in memory (16 bytes each), and the table's index is asked.
MOST = 4_000_000
_LATE = 50_000


class Numbers:
    """A set of numbers, most of them sorted in an array, the latest in a set."""

    def __init__(self, numbers: npt.NDArray[np.int64]) -> None:
        self._sorted = np.sort(numbers)  # `unique` would import the masked arrays of numpy
        self._late: set[int] = set()

    def __len__(self) -> int:
        return len(self._sorted) + len(self._late)

    def add(self, numbers: Iterable[int]) -> None:
        """Have these, too."""
        self._late.update(numbers)
        if len(self._late) > max(_LATE, len(self._sorted) // 4):
            late = np.fromiter(self._late, np.int64, len(self._late))
            self._sorted, self._late = np.sort(np.concatenate([self._sorted, late])), set()

    def among(self, numbers: set[int]) -> set[int]:
        """Those of the numbers that are here."""
        found = numbers & self._late
        if numbers and len(self._sorted):
            asked = np.fromiter(numbers, np.int64, len(numbers))
            places = np.minimum(np.searchsorted(self._sorted, asked), len(self._sorted) - 1)
            found.update(asked[self._sorted[places] == asked].tolist())
        return found


class Known:
    """The numbers of ids, and of what is said, of all rows."""

    def __init__(self, keys: Any, sames: Any) -> None:
        self.keys, self.sames = Numbers(keys), Numbers(sames)

    def add(self, keys: Iterable[int], sames: Iterable[int]) -> None:
        """Have those of a row that was written."""
        self.keys.add(keys)
        self.sames.add(sames)
