"""The words of a text, as they are looked for: without case, accents, plural; in pairs where a script has no spaces.

Query and item go through the same steps here, and not through a database's, so that a word is found, and counts, alike
on every memory.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

#: How many words of a query are looked for at most.
MAX_TERMS = 64
#: From this length on a query's word is also found as the begin of a longer one.
PREFIX = 4

_WORD = re.compile(r"[^\W_]+")
#: For texts of ASCII alone: whatever is in no word, as a space.
_PARTED = bytes(code if code < 128 and chr(code).isalnum() else 32 for code in range(256))
#: Chinese, Japanese and Korean ideographs, kana; Thai, Lao, Myanmar, Khmer: written without spaces between words.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd]+"
)


def words(text: str) -> list[str]:
    """All words, in order; of a run without spaces each character and each pair."""
    if text.isascii():
        return list(map(singular, ascii_words(text)))
    return list(_words(text, single=True))


def terms(query: str) -> list[str]:
    """The words to look for, each once, at most `MAX_TERMS`."""
    found = list(dict.fromkeys(_words(query, single=False)))
    telling = [word for word in found if word not in _STOP]
    return (telling or found)[:MAX_TERMS]


def found_in(wanted: list[str], there: set[str]) -> tuple[str, ...]:
    """Which of the terms are among the words of an item, whole or, if long enough, as the begin of one."""
    return tuple(term for term in wanted if term in there or (_begins(term) and any(w.startswith(term) for w in there)))


def is_prefix(term: str) -> bool:
    """Whether a term is also found as the begin of a longer word."""
    return _begins(term)


def _begins(term: str) -> bool:
    return len(term) >= PREFIX and not _UNSPACED.search(term)


def ascii_words(text: str) -> list[str]:
    """The words of a text of ASCII, as most are, not yet as singulars: what `words` begins with, much sooner."""
    return parted(text.encode()).decode().split()


def parted(text: bytes) -> bytes:
    """A text of ASCII, or several, in small letters, with a space for each character that is in no word."""
    return text.lower().translate(_PARTED)


def _words(text: str, *, single: bool) -> Iterator[str]:
    plain = unicodedata.normalize("NFKD", text).casefold()
    if not plain.isascii():
        plain = "".join(one for one in plain if not unicodedata.combining(one))
        plain = unicodedata.normalize("NFC", plain)
    for match in _WORD.finditer(plain):
        word = match[0]
        if word.isascii():
            yield singular(word)
            continue
        place = 0
        for run in _UNSPACED.finditer(word):
            if run.start() > place:
                yield word[place : run.start()]
            yield from _pairs(run[0], single)
            place = run.end()
        if place < len(word):
            yield word[place:]


def _pairs(run: str, single: bool) -> Iterator[str]:
    if single or len(run) == 1:
        yield from run
    for place in range(len(run) - 1):
        yield run[place : place + 2]


def singular(word: str) -> str:
    """An English plural as its singular; words of other languages may lose their "s", in query and item alike."""
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if len(word) > 3 and word[-1] == "s" and word[-2] not in "sui":
        return word[:-1]
    return word


#: English words that ask without naming anything; a query of nothing else is taken as it is.
_STOP = frozenset(
    singular(word)
    for line in (
        "a about am an and any are as at be been but by can could did do does for from had has have he her his how i",
        "if in is it its me my of on or our she should so some than that the their them then there they this to us was",
        "we were what when where which who why will with would you your",
    )
    for word in line.split()
)
