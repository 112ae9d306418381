"""Records as lines, each of which holds the hash of itself and of the one before."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

#: What comes before the first record.
NOTHING = "0" * 64
_MARK = ',"hash":"'
_MARK_BYTES = _MARK.encode()
_TAIL = len(_MARK) + 64 + len('"}')


class Broken(ValueError):
    """A line is not what was written; says how."""


@dataclass(frozen=True, slots=True)
class Chain:
    """How hashes are made: by an HMAC, with a key; else anybody can make one that fits."""

    key: bytes | None = None

    def line(self, record: Mapping[str, Any], n: int, before: str) -> tuple[bytes, str]:
        """The line of a record, with its end, and its hash. What is None is left out."""
        told: dict[str, Any] = {"n": n, "prev": before}
        for name, value in record.items():
            if value is not None:
                told[name] = value
        body = _encoded(told)
        made = self._hash(body)
        return b'%b%b%b"}\n' % (body[:-1], _MARK_BYTES, made.encode()), made

    def read(self, line: str, n: int, before: str) -> tuple[dict[str, Any], str]:
        """The record of a line, and its hash. Raises: Broken: it is none, was changed, or is not the next one."""
        record, stated = parsed(line)
        if not hmac.compare_digest(self._hash(f"{line[:-_TAIL]}}}".encode("utf-8", "surrogatepass")), stated):
            raise Broken("was changed, or written with another key")
        if record["n"] != n:
            raise Broken(f"is record {record['n']}, and {n} should be here: records are missing, or out of order")
        if record["prev"] != before:
            raise Broken("does not follow the record before it")
        return record, stated

    def _hash(self, body: bytes) -> str:
        if self.key is None:
            return hashlib.sha256(body).hexdigest()
        return hmac.digest(self.key, body, "sha256").hex()


def _encoded(record: Mapping[str, Any]) -> bytes:
    try:
        return to_json(record)
    except PydanticSerializationError:  # half of a pair of surrogates, in words of a server
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def parsed(line: str) -> tuple[dict[str, Any], str]:
    """The record of a line, and the hash that it states; nothing is checked. Raises: Broken: it is no record."""
    try:
        record = json.loads(line)
        n, stated = record["n"], record["hash"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Broken("is no record") from None
    if not isinstance(n, int) or not isinstance(stated, str) or line[-_TAIL:] != f'{_MARK}{stated}"}}':
        raise Broken("is no record")
    return record, stated
