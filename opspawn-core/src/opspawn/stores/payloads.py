"""Large values, kept once each: where one would stand, a column holds a marker that no JSON text can be.

A marker is "@DIGEST:BYTES". Each column that holds one counts as a reference; a value that nobody refers to is removed.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from typing import Any

from opspawn.contracts.store import INLINE_BYTES
from opspawn.errors import NotFound
from opspawn.stores import rows
from opspawn.stores.transaction import Transaction

Fetch = Callable[[str], str]

#: Texts of so many characters are inline, since none takes more than four bytes.
SURELY_INLINE = INLINE_BYTES // 4
_KEEP = "INSERT INTO payloads (digest, refs, data) VALUES (?, 1, ?) ON CONFLICT (digest) DO UPDATE SET refs = refs + 1"
_DROP = "UPDATE payloads SET refs = refs - 1 WHERE digest = ? RETURNING refs"
_REMOVE = "DELETE FROM payloads WHERE digest = ?"
_DATA = "SELECT data FROM payloads WHERE digest = ?"


class Large:
    """The large values of one batch, by their digests."""

    __slots__ = ("texts",)

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def place(self, text: str) -> str:
        """The text itself, or the marker that stands for it."""
        if len(text) <= SURELY_INLINE or (size := rows.size(text)) <= INLINE_BYTES:
            return text
        digest = hashlib.sha256(text.encode()).hexdigest()
        self.texts[digest] = text
        return f"{rows.MARK}{digest}:{size}"

    @property
    def size(self) -> int:
        """Bytes of all values, each counted once."""
        return sum(map(rows.size, self.texts.values()))

    def keep(self, tx: Transaction, *placed: str) -> None:
        """Refer to the values behind those that are markers."""
        for text in placed:
            if text[0] == rows.MARK:
                digest = rows.digest(text)
                tx.execute(_KEEP, (digest, self.texts[digest]))


def drop(tx: Transaction, *placed: str) -> None:
    """Refer no more to the values behind those that are markers."""
    for text in placed:
        if text[0] == rows.MARK:
            digest = rows.digest(text)
            if tx.execute(_DROP, (digest,)).fetchall()[0][0] == 0:
                tx.execute(_REMOVE, (digest,))


def fetching(execute: Callable[..., sqlite3.Cursor]) -> Fetch:
    """How to get the text behind a digest."""
    return lambda digest: str(execute(_DATA, (digest,)).fetchall()[0][0])


def payload(connection: sqlite3.Connection, digest: str) -> Any:
    """The value of a digest. Raises: NotFound."""
    row = connection.execute(_DATA, (digest,)).fetchone()
    if row is None:
        raise NotFound("payload", digest)
    return rows.load(row[0])
