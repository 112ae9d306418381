"""A matrix of numpy: how fast comparing all can be, with nothing kept."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from _common import Settings, report
from _memory import TOP, Data, begin, timed_searches

settings = Settings()
data = Data(settings.get("items"), settings.get("one_by_one"), settings.get("searches"))
count = data.items + data.one_by_one
matrix = np.empty((count, data.vectors.shape[1]), np.float32)
began = begin()
for batch in data.batches():
    matrix[batch.start : batch.stop] = data.vectors[batch.start : batch.stop]
seconds = time.perf_counter() - began
began = begin()
for n in data.singles():
    matrix[n] = data.vectors[n]
one = data.one_by_one / (time.perf_counter() - began)


def search(question: Any) -> list[int]:
    """The numbers of the nearest."""
    scores = matrix @ question
    best = np.argpartition(-scores, TOP)[:TOP]
    found: list[int] = best[np.argsort(-scores[best])].tolist()
    return found


figures = timed_searches(data, search, count) | {"add": data.items / seconds, "one": one}
report(f"{figures['search']:,.0f} searches/s", figures, ("numpy",))
