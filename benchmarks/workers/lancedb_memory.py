"""LanceDB by hand: what it can do with a table of three columns."""

from __future__ import annotations

import warnings
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from _common import Settings
from _lance import measure
from _memory import DIM, Data

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


def read(asked: Any) -> list[int]:
    """The numbers of what is found."""
    found: list[int] = asked.select(["id", "text", "_distance"]).to_arrow()["id"].to_pylist()
    return found


measure(data, table, lambda numbers: table.add(rows(numbers)), read)
