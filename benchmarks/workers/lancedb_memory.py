"""LanceDB by hand: what it can do with a table of three columns."""

from __future__ import annotations

import time
import warnings
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from _common import Settings, expect, report
from _memory import DIM, TOP, Data, timed_searches

#: From here on an index of vectors is made, with as many parts looked at as the memory does.
INDEX_FROM, PROBE = 20_000, 0.5

warnings.simplefilter("ignore")
settings = Settings()
data = Data(settings.get("items"), settings.get("one_by_one"), settings.get("searches"))
schema = pa.schema([("id", pa.int64()), ("text", pa.string()), ("vector", pa.list_(pa.float32(), DIM))])
table: Any = lancedb.connect(str(settings.folder / "table")).create_table("items", schema=schema)


def rows(numbers: range) -> pa.Table:
    """Items as a table of arrow, the quickest way in."""
    flat = np.concatenate([data.vectors[n] for n in numbers])
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(flat), DIM)
    return pa.table([pa.array(numbers, pa.int64()), [data.texts[n] for n in numbers], vectors], schema=schema)


began = time.perf_counter()
for batch in data.batches():
    table.add(rows(batch))
seconds = time.perf_counter() - began
some = data.singles()[:100]
began = time.perf_counter()
for n in some:
    table.add(rows(range(n, n + 1)))
one = len(some) / (time.perf_counter() - began)
table.add(rows(range(some[-1] + 1, data.singles()[-1] + 1)))
began = time.perf_counter()
table.optimize()
count = table.count_rows()
parts = round(3 * count**0.5)
if count >= INDEX_FROM:
    table.create_index("cosine", num_partitions=parts, vector_column_name="vector", index_type="IVF_FLAT")
order = time.perf_counter() - began


def search(question: Any) -> list[int]:
    """The numbers of the nearest."""
    asked = table.search(question, vector_column_name="vector").distance_type("cosine").limit(TOP)
    if count >= INDEX_FROM:
        asked = asked.minimum_nprobes(max(1, round(PROBE * parts))).maximum_nprobes(0)
    found: list[int] = asked.select(["id", "text", "_distance"]).to_arrow()["id"].to_pylist()
    return found


figures = timed_searches(data, search, count)
expect(count == data.items + data.one_by_one, "items are missing")
figures |= {"add": data.items / seconds, "one": one, "order": order}
summary = f"{figures['add']:,.0f} and {one:,.0f} items/s, {figures['search']:,.0f} searches/s"
report(summary, figures, ("lancedb",))
