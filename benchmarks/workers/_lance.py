"""What the two tables of LanceDB by hand have in common: what is timed, and how the nearest are asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from _common import expect, report
from _memory import TOP, Data, begin, timed_searches

#: From here on an index of vectors is made, the kind that the memory makes, with parts as large; all are looked at, and
#: twice as many as are wanted compared exactly.
INDEX_FROM, PART, REFINE = 20_000, 4096, 2


def measure(data: Data, table: Any, add: Callable[[range], object], read: Callable[[Any], list[int]]) -> None:
    """Add all items, put the table in order, search, and report; `read` gives the numbers that a query finds."""
    began = begin()
    for batch in data.batches():
        add(batch)
    seconds = time.perf_counter() - began
    some = data.singles()[:100]
    began = begin()
    for n in some:
        add(range(n, n + 1))
    one = len(some) / (time.perf_counter() - began)
    add(range(some[-1] + 1, data.singles()[-1] + 1))
    began = begin()
    table.optimize()
    count = table.count_rows()
    parts = round(count / PART)
    if count >= INDEX_FROM:
        table.create_index("cosine", num_partitions=parts, vector_column_name="vector", index_type="IVF_SQ")
    order = time.perf_counter() - began

    def search(question: Any) -> list[int]:
        asked = table.search(question, vector_column_name="vector").distance_type("cosine").limit(TOP)
        if count >= INDEX_FROM:
            asked = asked.minimum_nprobes(parts).maximum_nprobes(0).refine_factor(REFINE)
        return read(asked)

    figures = timed_searches(data, search, count)
    expect(count == data.items + data.one_by_one, "items are missing")
    figures |= {"add": data.items / seconds, "one": one, "order": order}
    summary = f"{figures['add']:,.0f} and {one:,.0f} items/s, {figures['search']:,.0f} searches/s"
    report(summary, figures, ("lancedb",))
