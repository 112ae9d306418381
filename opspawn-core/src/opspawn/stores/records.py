"""Writing records other than tasks: Put, Delete and Check."""

from __future__ import annotations

import re
import sqlite3
from typing import Any

from opspawn.contracts.store import MAX_FIELDS, Check, Delete, Put, Record
from opspawn.contracts.unreadable import Unreadable
from opspawn.errors import Conflict, StoreError
from opspawn.stores import rows
from opspawn.stores.transaction import Transaction

PreparedPut = tuple[Put, Record, str, str]

NAME = re.compile(r"[A-Za-z0-9_]{1,32}")
_INSERT = (
    "INSERT INTO records (kind, id, data, fields, version, created, updated) VALUES (?, ?, ?, ?, 1, ?, ?) RETURNING seq"
)
_SELECT = "SELECT seq, fields FROM records WHERE kind = ? AND id = ? AND version = ?"
_UPDATE = "UPDATE records SET data = ?, fields = ?, version = version + 1, updated = ? WHERE seq = ?"
_FIELD = "INSERT INTO fields (kind, name, value, record) VALUES (?, ?, ?, ?)"
_UNFIELD = "DELETE FROM fields WHERE kind = ? AND name = ? AND value = ? AND record = ?"


def prepare(put: Put, record: Record) -> tuple[PreparedPut, int]:
    """Check and serialise; also the bytes of JSON in it. Raises: StoreError."""
    what = f"Record {record.kind}/{record.id}"
    if record.kind == "task":
        raise StoreError(f"{what} cannot be put.", remedy='The kind "task" is that of tasks; put a Task.')
    data = rows.dump(record.data if type(record.data) is Unreadable else dict(record.data), what)
    if not record.fields:
        return (put, record, data, "{}"), rows.size(data)
    fields = rows.texts(record.fields, f"{what}: fields")
    wrong = [name for name in fields if not NAME.fullmatch(name)]
    if len(fields) > MAX_FIELDS or wrong:
        raise StoreError(
            f"{what} has the fields {sorted(fields)}.",
            remedy=f'At most {MAX_FIELDS}; names of 1 to 32 letters, digits and "_".',
        )
    text = rows.dump(fields, what)
    return (put, record, data, text), rows.size(data) + rows.size(text)


def write(tx: Transaction, prepared: PreparedPut) -> int:
    """Insert or update a record. Raises: Conflict."""
    put, record, data, fields = prepared
    former: dict[str, str] = {}
    if put.expect == 0:
        try:
            new = (record.kind, record.id, data, fields, tx.now, tx.now)
            seq = tx.execute(_INSERT, new).fetchall()[0][0]
        except sqlite3.IntegrityError as error:
            raise Conflict(f"Record {record.kind}/{record.id} exists already.") from error
    else:
        seq, text = _find(tx, record.kind, record.id, put.expect)
        former = {} if text == fields else rows.load(text)
        tx.execute(_UPDATE, (data, fields, tx.now, seq))
        if text == fields:
            return put.expect + 1
    for field in former.items() - record.fields.items():
        tx.execute(_UNFIELD, (record.kind, *field, seq))
    for field in record.fields.items() - former.items():
        tx.execute(_FIELD, (record.kind, *field, seq))
    return put.expect + 1


def delete(tx: Transaction, delete: Delete) -> int:
    """Remove a record. Raises: Conflict."""
    seq, fields = _find(tx, delete.kind, delete.id, delete.expect)
    for field in rows.load(fields).items():
        tx.execute(_UNFIELD, (delete.kind, *field, seq))
    tx.execute("DELETE FROM records WHERE seq = ?", (seq,))
    return 0


def check(tx: Transaction, check: Check) -> int:
    """Look at a record's version. Raises: Conflict."""
    if check.expect:
        _find(tx, check.kind, check.id, check.expect)
    elif tx.execute("SELECT 1 FROM records WHERE kind = ? AND id = ?", (check.kind, check.id)).fetchone():
        raise Conflict(f"Record {check.kind}/{check.id} exists already.")
    return 0


def _find(tx: Transaction, kind: str, id: str, version: int) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = tx.execute(_SELECT, (kind, id, version)).fetchone()
    if row is None:  # guard: nobody overwrites what they have not read
        raise Conflict(f"Record {kind}/{id} is not at version {version}.")
    return row
