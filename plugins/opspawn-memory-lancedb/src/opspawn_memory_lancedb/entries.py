"""Reading a log that somebody has left: the entries that are whole, and whether anything else was damaged.

A process that dies leaves the begin of an entry at the end, and power that fails perhaps zeros: nobody was told that
these are kept. Any other bytes that cannot be read may have been an entry that was acknowledged. What comes after them
is found again by how Arrow's format begins, which no text can hold, since UTF-8 has no such bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zlib import crc32

import pyarrow as pa

#: Before an entry: how long it is, and its checksum.
HEAD: Final = struct.Struct("<QI")
#: How an entry says that it is the first columns of rows, or the rest of them.
PART: Final = b"opspawn.part"
FIRST: Final = {PART: b"first"}
REST: Final = {PART: b"rest"}

_BEGIN = b"\xff\xff\xff\xff"
_END = b"\xff\xff\xff\xff\0\0\0\0"


@dataclass(frozen=True, slots=True)
class Left:
    """What a log holds: its rows, None if it has none, and how many bytes are damaged."""

    rows: pa.Table | None
    damaged: int = 0


def left_in(path: Path) -> Left:
    """What a log holds. Raises: OSError."""
    data = path.read_bytes()
    tables: list[pa.Table] = []
    first: pa.Table | None = None
    at = damaged = 0
    for start, end, table in _entries(data):
        if start > at:
            damaged += start - at
            first = None  # its rest may be what cannot be read
        at = end
        match (table.schema.metadata or {}).get(PART):
            case b"first":
                first = table
            case b"rest":
                tables.append(_joined(table, first))
                first = None
            case _:
                tables.append(table)
    if _was_whole(data[at:]):
        damaged += len(data) - at
    # Rows whose vectors cannot be read are kept without.
    return Left(pa.concat_tables(tables, promote_options="default") if tables else None, damaged)


def _entries(data: bytes) -> Iterator[tuple[int, int, pa.Table]]:
    """Each entry that is whole: where its head begins, where it ends, what it holds."""
    at = 0
    while at < len(data):
        found = _entry(data, at)
        if found is None:
            begin = data.find(_BEGIN, at + HEAD.size + 1)
            if begin < 0:
                return
            at = begin - HEAD.size
            continue
        end, table = found
        yield at, end, table
        at = end


def _entry(data: bytes, at: int) -> tuple[int, pa.Table] | None:
    """The entry whose head is there; None if there is none that is whole."""
    start = at + HEAD.size
    if start >= len(data):
        return None
    size, check = HEAD.unpack_from(data, at)
    if not 0 < size <= len(data) - start or not data.startswith(_BEGIN, start):
        return None
    body = data[start : start + size]  # a copy begins where Arrow wants it to
    if crc32(body) != check:
        return None
    try:
        return start + size, pa.ipc.open_stream(pa.py_buffer(body)).read_all()
    except pa.ArrowException:
        return None


def _was_whole(end: bytes) -> bool:
    """Whether what cannot be read at the end of a log was once an entry as it should be, and not the begin of one."""
    if len(end) <= HEAD.size or not end.strip(b"\0"):
        return False
    size, _ = HEAD.unpack_from(end)
    return 0 < size <= len(end) - HEAD.size or end.endswith(_END)


def _joined(rest: pa.Table, first: pa.Table | None) -> pa.Table:
    whole = rest.replace_schema_metadata(None)
    if first is not None and len(first) == len(rest):
        for kind in first.schema:
            whole = whole.append_column(kind, first[kind.name])
    return whole
