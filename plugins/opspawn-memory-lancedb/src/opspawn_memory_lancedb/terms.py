"""The words of texts, and their begins, as the index of words has them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from opspawn.memories.words import PREFIX, ascii_words, is_prefix, singular, words
from opspawn_memory_lancedb.rows import LONGEST

#: Words are found by their begins of `PREFIX` to so many characters; longer words also whole, up to `LONGEST`.
_LONG = 16
#: Stands between texts that are taken apart together; where it is in a text, that one is taken apart alone.
_END = "\0"


def terms_of(texts: Sequence[str]) -> list[str]:
    """Of each text its words, and their begins, with spaces between them."""
    plain = [text for text in texts if text.isascii() and _END not in text]
    made = _terms_of_ascii(plain)
    if len(plain) == len(texts):
        return made
    left = iter(made)
    return [next(left) if text.isascii() and _END not in text else _terms_of(text) for text in texts]


def _terms_of_ascii(texts: Sequence[str]) -> list[str]:
    if not texts:
        return []
    found = " ".join(map(_Seen().__getitem__, ascii_words(f" {_END} ".join(texts), several=True)))
    return [one.strip(" ") for one in found.split(_END)]


def _terms_of(text: str) -> str:
    return " ".join(map(_found_by, words(text)))


class _Seen(dict[str, str]):
    """What the words of one call are found by."""

    def __missing__(self, word: str) -> str:
        made = self[word] = word if word == _END else _known(word) if len(word) <= LONGEST else _found_by(word)
        return made


def _found_by(word: str) -> str:
    if word.isascii():
        word = singular(word)
        begins = len(word) > PREFIX
    else:
        begins = is_prefix(word)
    if not begins:
        return word[:LONGEST]
    return " ".join([*[word[:length] for length in range(PREFIX, min(len(word), _LONG + 1))], word[:LONGEST]])


_known = lru_cache(16_384)(_found_by)
