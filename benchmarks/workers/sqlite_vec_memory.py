"""sqlite-vec by hand: a virtual table of vectors beside one of texts, in one file, synchronous=FULL."""

from __future__ import annotations

import time
from typing import Any

import apsw
import sqlite_vec
from _common import Settings, expect, report
from _memory import DIM, TOP, Data, begin, timed_searches

settings = Settings()
data = Data(settings.get("items"), settings.get("one_by_one"), settings.get("searches"))
connection = apsw.Connection(str(settings.folder / "vectors.db"))
connection.enable_load_extension(True)
connection.load_extension(sqlite_vec.loadable_path())
connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
connection.execute(
    f"CREATE VIRTUAL TABLE vectors USING vec0(id INTEGER PRIMARY KEY, v float[{DIM}] distance_metric=cosine)"
)
connection.execute("CREATE TABLE texts (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")


def add(numbers: range) -> None:
    """Keep items, in one transaction."""
    with connection:
        connection.executemany("INSERT INTO vectors VALUES (?, ?)", ((n, data.vectors[n].tobytes()) for n in numbers))
        connection.executemany("INSERT INTO texts VALUES (?, ?)", ((n, data.texts[n]) for n in numbers))


def search(question: Any) -> list[int]:
    """The numbers of the nearest."""
    sql = (
        f"SELECT v.id, t.text FROM vectors v JOIN texts t USING (id) WHERE v.v MATCH ? AND k = {TOP} ORDER BY distance"
    )
    return [n for n, _ in connection.execute(sql, (question.tobytes(),))]


began = begin()
for batch in data.batches():
    add(batch)
seconds = time.perf_counter() - began
began = begin()
for n in data.singles():
    add(range(n, n + 1))
one = data.one_by_one / (time.perf_counter() - began)
count = data.items + data.one_by_one
figures = timed_searches(data, search, count) | {"add": data.items / seconds, "one": one}
expect(next(connection.execute("SELECT count(*) FROM texts"))[0] == count, "items are missing")
report(f"{figures['add']:,.0f} items/s, {figures['search']:,.0f} searches/s", figures, ("sqlite-vec", "apsw"))
