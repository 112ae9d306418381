"""LanceDB by hand, keeping what the memory keeps: what a program of one's own would do for the same promises."""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from _common import Settings
from _lance import measure
from _memory import DIM, Data

COLUMNS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "text": pa.string(),
    "namespace": pa.string(),
    "subject": pa.string(),
    "metadata": pa.string(),
    "provenance": pa.string(),
    "said": pa.string(),
    "confidence": pa.float64(),
    "ttl_s": pa.float64(),
    "refresh": pa.bool_(),
    "created": pa.int64(),
    "updated": pa.int64(),
    "expires": pa.int64(),
    "vector": pa.list_(pa.float32(), DIM),
}

warnings.simplefilter("ignore")
settings = Settings()
data = Data(settings.get("items"), settings.get("one_by_one"), settings.get("searches"))
table: Any = lancedb.connect(str(settings.folder / "table")).create_table("items", schema=pa.schema(COLUMNS))
table.create_scalar_index("id")
table.create_fts_index("text")
sure: set[Path] = set()


def rows(numbers: range) -> pa.Table:
    """Items as a table of arrow."""
    n, now = len(numbers), time.time_ns() // 1000
    texts = [data.texts[one] for one in numbers]
    flat = np.concatenate([data.vectors[one] for one in numbers])
    made: dict[str, Any] = {
        "id": [str(one) for one in numbers],
        "text": texts,
        "namespace": [json.dumps(["bench"])] * n,
        "subject": [""] * n,
        "metadata": ["{}"] * n,
        "provenance": ["{}"] * n,
        "said": [hashlib.blake2b(" ".join(one.casefold().split()).encode()).hexdigest() for one in texts],
        "confidence": [1.0] * n,
        "ttl_s": [None] * n,
        "refresh": [False] * n,
        "created": [now] * n,
        "updated": [now] * n,
        "expires": [None] * n,
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(flat), DIM),
    }
    arrays = [made[name] if name == "vector" else pa.array(made[name], kind) for name, kind in COLUMNS.items()]
    return pa.Table.from_arrays(arrays, names=list(COLUMNS))


def add(numbers: range) -> None:
    """Have items kept, each id once, on the disk."""
    table.merge_insert("id").when_not_matched_insert_all().execute(rows(numbers))
    folder = settings.folder / "table/items.lance"
    new = [path for name in ("data", "_versions") for path in (folder / name).iterdir() if path not in sure]
    for path in [*new, folder / "data", folder / "_versions", folder]:
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.close(file)
    sure.update(new)


def read(asked: Any) -> list[int]:
    """The numbers of what is found, each item whole."""
    columns = [name for name in COLUMNS if name != "vector"]
    return [int(row["id"]) for row in asked.select([*columns, "_distance"]).to_list()]


measure(data, table, add, read)
