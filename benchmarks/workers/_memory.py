"""What the workers of `memory` share: the vectors, the questions, and the measuring. Needs numpy."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from _common import expect

DIM = 384
#: How many items go into one call, and how many hits are asked for.
BATCH, TOP = 1000, 10


class Data:
    """Vectors in clusters, as texts make them, and questions near some of them. The same in every process."""

    def __init__(self, items: int, one_by_one: int, searches: int) -> None:
        random = np.random.default_rng(7)
        centers = random.standard_normal((max(10, items // 50), DIM)).astype(np.float32)
        count = items + one_by_one
        noise = random.standard_normal((count, DIM)).astype(np.float32)
        self.vectors = unit(centers[random.integers(0, len(centers), count)] + 0.6 * noise)
        near = self.vectors[random.integers(0, items, searches)]
        self.questions = unit(near + 0.3 * random.standard_normal((searches, DIM)).astype(np.float32) / DIM**0.5 * 10)
        self.texts = [f"item {n} of many, filed under {n % 97} and {n % 31}" for n in range(count)]
        self.items, self.one_by_one = items, one_by_one

    def batches(self) -> list[range]:
        """The numbers of the items, by calls."""
        return [range(start, min(start + BATCH, self.items)) for start in range(0, self.items, BATCH)]

    def singles(self) -> range:
        """The numbers of the items that are added one a call."""
        return range(self.items, self.items + self.one_by_one)

    def recall(self, found: Sequence[Sequence[int]], count: int) -> float:
        """The share of the nearest that were found, with the first `count` items kept."""
        shared = 0
        for question, numbers in zip(self.questions, found, strict=True):
            scores = self.vectors[:count] @ question
            shared += len(set(np.argpartition(-scores, TOP)[:TOP].tolist()) & set(numbers[:TOP]))
        return shared / (TOP * len(found))


def begin() -> float:
    """The time now, with no garbage of what was before; what is there by now is not looked through for some again."""
    gc.collect()
    gc.freeze()
    return time.perf_counter()


def unit(vectors: Any) -> Any:
    """Each one long."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def timed_searches(data: Data, search: Callable[[Any], Sequence[int]], count: int) -> dict[str, float]:
    """Ask all questions, one after the other: searches per second by the median, and the recall."""
    for question in data.questions[:5]:
        search(question)
    times, found = [], []
    for question in data.questions:
        began = time.perf_counter()
        found.append(list(search(question)))
        times.append(time.perf_counter() - began)
    expect(all(len(numbers) >= TOP for numbers in found), "a search gave too few hits")
    return {"search": 1 / statistics.median(times), "recall": data.recall(found, count)}
