"""The words of texts, and their begins, for the index of words.

They follow from the text, so that whoever adds does not wait for them: rows get them on their way into the table. Most
of that is Arrow's work, which leaves Python to others; each word is looked at once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc  # type: ignore[import-untyped]

from opspawn.memories.words import PREFIX, is_prefix, parted, singular, words
from opspawn_memory_lancedb.rows import LONGEST

COLUMN = "terms"
#: Words are found by their begins of `PREFIX` to so many characters; longer words also whole, up to `LONGEST`.
_LONG = 16
#: Of how many words the begins are made in one go, and how long the rest before the next takes.
_AT_ONCE, _PAUSE_S = 500, 0.0001
#: Texts are taken together up to so many bytes.
_MOST = 64 << 20


def with_terms(rows: pa.Table) -> pa.Table:
    """Rows with the words of their texts."""
    if COLUMN in rows.column_names:
        return rows
    texts = rows["text"]
    whole = [texts.combine_chunks()] if texts.nbytes < _MOST else texts.chunks
    parts = [chunk for part in whole for chunk in (part.chunks if isinstance(part, pa.ChunkedArray) else [part])]
    return rows.append_column(pa.field(COLUMN, pa.string(), nullable=False), [terms_of(part) for part in parts])


def terms_of(texts: pa.Array) -> pa.Array:
    """Of each text its words, and their begins, with spaces between them."""
    plain = pc.string_is_ascii(texts)
    if plain.true_count == len(texts):
        return _of_ascii(texts)
    if not plain.true_count:
        return _of_any(texts)
    found = pc.replace_with_mask(texts, plain, _of_ascii(texts.filter(plain)))
    others = pc.invert(plain)
    return pc.replace_with_mask(found, others, _of_any(texts.filter(others)))


def _of_ascii(texts: pa.Array) -> pa.Array:
    _, offsets, data = texts.buffers()
    small = parted(b"" if data is None else data.to_pybytes())
    plain = pa.Array.from_buffers(texts.type, len(texts), [None, offsets, pa.py_buffer(small)], 0, texts.offset)
    found = pc.ascii_split_whitespace(pc.ascii_trim_whitespace(plain))
    each = found.flatten().dictionary_encode()
    made = _of_each(each.dictionary)
    return pc.binary_join(pa.ListArray.from_arrays(found.offsets, made.take(each.indices)), " ")


def _of_each(found: pa.Array) -> pa.Array:
    """Of each word what it is found by. Between some and the next, Python is left to whoever adds: who works on and on
    lets nobody else have it for 5 ms, each time that they come back from the disk.
    """
    made = [pa.array(_of_words(found[:_AT_ONCE].to_pylist()), pa.string())]
    for start in range(_AT_ONCE, len(found), _AT_ONCE):
        time.sleep(_PAUSE_S)
        made.append(pa.array(_of_words(found[start : start + _AT_ONCE].to_pylist()), pa.string()))
    return pa.concat_arrays(made)


def _of_words(found: Sequence[str]) -> list[str]:
    # Of short words, as most are, nothing is taken away but the "s" of a plural.
    return [word if len(word) <= PREFIX and word[-1:] != "s" else _found_by(word) for word in found]


def _of_any(texts: pa.Array) -> pa.Array:
    return pa.array([" ".join(map(_found_by, words(text))) for text in texts.to_pylist()], pa.string())


def _found_by(word: str) -> str:
    if word.isascii():
        word = singular(word)
        begins = len(word) > PREFIX
    else:
        begins = is_prefix(word)
    if not begins:
        return word[:LONGEST]
    return " ".join([*[word[:length] for length in range(PREFIX, min(len(word), _LONG + 1))], word[:LONGEST]])
