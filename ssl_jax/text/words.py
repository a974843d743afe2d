# SPDX-License-Identifier: Apache-2.0
"""Where words begin: a recipe's choice, independent of the tokenizer.

The default follows Unicode's word boundaries (UAX #29) where scripts put spaces between words, and
simple tables where they don't: a Han character is a word of its own, runs of Hiragana or Katakana are
words, Tibetan syllables end at the tsheg, Thai, Lao, Khmer and Burmese are cut into orthographic
clusters.  Combining marks and vowel signs never leave their base.
"""

import functools
import re
import unicodedata
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ssl_jax.text.chars import CharTable, codes
from ssl_jax.types import UserError


class Words(Protocol):
    """A recipe's word boundaries."""

    def starts(self, text: str) -> np.ndarray:
        """[len(text)] bool: this character begins a word.  A pure function of the text."""


# Classes of characters.  SPACE separates; EXTEND and JOINER belong to the character before them.
SPACE, SYMBOL, PUNCT, LETTER, DIGIT, MID, MIDNUM, HAN, HIRAGANA, KATAKANA = range(10)
CLUSTER, LEADING, TSHEG, FLAG, EXTEND, JOINER, NUM_CLASSES = range(10, 17)

_RANGES = (  # (first, last, class); the first that fits wins
    (0x200B, 0x200B, SPACE),  # zero-width space: Thai and Khmer texts separate words with it
    (0x200D, 0x200D, JOINER),
    (0x1039, 0x1039, JOINER),  # Burmese virama: the next consonant is stacked below
    (0x17D2, 0x17D2, JOINER),  # Khmer coeng: the same
    (0x0F0B, 0x0F0C, TSHEG),
    (0x2E80, 0x2FDF, HAN),
    (0x3005, 0x3007, HAN),
    (0x3021, 0x3029, HAN),
    (0x3038, 0x303B, HAN),
    (0x3400, 0x4DBF, HAN),
    (0x4E00, 0x9FFF, HAN),
    (0xF900, 0xFAFF, HAN),
    (0x20000, 0x323AF, HAN),
    (0x3041, 0x3096, HIRAGANA),
    (0x309D, 0x309F, HIRAGANA),
    (0x30A1, 0x30FA, KATAKANA),
    (0x30FC, 0x30FC, EXTEND),  # prolonged sound mark
    (0x30FD, 0x30FF, KATAKANA),
    (0x31F0, 0x31FF, KATAKANA),
    (0xFF66, 0xFF6F, KATAKANA),
    (0xFF70, 0xFF70, EXTEND),
    (0xFF71, 0xFF9D, KATAKANA),
    (0xFF9E, 0xFF9F, EXTEND),  # half-width voicing marks
    (0x0E01, 0x0E2E, CLUSTER),
    (0x0E2F, 0x0E3A, EXTEND),  # Thai vowels written after, above or below; paiyannoi
    (0x0E40, 0x0E44, LEADING),  # Thai vowels written before their consonant
    (0x0E45, 0x0E4E, EXTEND),
    (0x0E81, 0x0EAE, CLUSTER),
    (0x0EAF, 0x0EBD, EXTEND),
    (0x0EC0, 0x0EC4, LEADING),
    (0x0EC6, 0x0ECE, EXTEND),
    (0x0EDC, 0x0EDF, CLUSTER),
    (0x1000, 0x102A, CLUSTER),
    (0x103F, 0x103F, CLUSTER),
    (0x1050, 0x1055, CLUSTER),
    (0x1780, 0x17B3, CLUSTER),
    (0x1F1E6, 0x1F1FF, FLAG),
    (0x1F3FB, 0x1F3FF, EXTEND),  # skin tones
)
_MID = frozenset("'’.․·‧׳״＇．")  # inside a word or a number: don't, U.S, 3.14, l·l
_MIDNUM = frozenset(",،٬")  # inside a number: 1,000
_ASAT = 0x103A  # Burmese: the consonant before it ends a syllable


def _character_class(char: str) -> int:
    code = ord(char)
    for first, last, value in _RANGES if code > 0x2FF else ():
        if first <= code <= last:
            return value
    if char in _MID or char in _MIDNUM:
        return MID if char in _MID else MIDNUM
    category = unicodedata.category(char)
    if char.isspace() or category[0] == "Z":
        return SPACE
    if category[0] == "L" or category in ("Nl", "Pc"):
        return LETTER
    if category[0] == "N":
        return DIGIT if category == "Nd" else LETTER
    if category[0] == "M" or category in ("Cf", "Cc"):
        return EXTEND
    return PUNCT if category[0] == "P" else SYMBOL


@functools.cache
def _classes() -> CharTable:
    return CharTable(_character_class)


def _join_table() -> np.ndarray:
    """[NUM_CLASSES ** 2] bool: a character of the second class goes on with the first's word."""
    joins = np.zeros((NUM_CLASSES, NUM_CLASSES), bool)
    for before in (LETTER, DIGIT):
        joins[before, [LETTER, DIGIT, TSHEG]] = True
    for run in (TSHEG, HIRAGANA, KATAKANA, FLAG):
        joins[run, run] = True
    joins[LEADING, CLUSTER] = True
    joins[JOINER, [LETTER, CLUSTER, SYMBOL]] = True
    joins[SPACE + 1 :, [EXTEND, JOINER]] = True
    return joins.reshape(-1)


_JOINS = _join_table()


def unicode_starts(points: np.ndarray) -> np.ndarray:
    """[n] uint32 code points -> [n] bool, by the rules of `UnicodeWords`.  Whitespace is no word's."""
    n = points.size
    if not n:
        return np.zeros(0, bool)
    kinds = _classes()(points)
    before = np.empty(n, np.uint8)  # the class of the character before, marks skipped
    before[0] = SPACE
    before[1:] = kinds[:-1]
    marks = np.flatnonzero(kinds == EXTEND)
    if marks.size:
        base = np.arange(n)
        # A mark that follows no base (text start, whitespace) is a base itself: nothing attaches to it.
        attached = marks[before[marks] != SPACE]
        base[attached] = 0
        np.maximum.accumulate(base, out=base)
        before[1:] = kinds[base[:-1]]
    joined = _JOINS.take(before * np.uint16(NUM_CLASSES) + kinds)
    inner = np.flatnonzero((kinds == MID) | (kinds == MIDNUM))
    inner = inner[inner < n - 1]
    if inner.size:
        left, right, number = before[inner], kinds[inner + 1], kinds[inner] == MIDNUM
        both = ((left == DIGIT) & (right == DIGIT)) | (
            ~number & ((left == LETTER) | (left == DIGIT)) & ((right == LETTER) | (right == DIGIT))
        )
        joined[inner[both]] = joined[inner[both] + 1] = True
    asat = np.flatnonzero(points == _ASAT)
    asat = asat[asat > 1]
    if asat.size:
        joined[asat[(kinds[asat - 1] == CLUSTER) & (before[asat - 1] == CLUSTER)] - 1] = True
    return ~joined & (kinds != SPACE)


@dataclass(frozen=True, kw_only=True)
class UnicodeWords:
    """Unicode's words, with tables for the scripts that write none (see this module's head).

    A letter or digit run is a word, with an apostrophe or a point inside it (don't, 3.14); every other
    mark of punctuation and every symbol is one of its own.
    """

    def starts(self, text: str) -> np.ndarray:
        return unicode_starts(codes(text))


@dataclass(frozen=True, kw_only=True)
class RegexWords:
    """Every match of `pattern` (Python's `re`) is a word; so is every run of other visible characters."""

    pattern: str = r"\w+"

    def __post_init__(self):
        compiled(self.pattern, "words")

    def starts(self, text: str) -> np.ndarray:
        result = np.zeros(len(text), bool)
        gap = 0
        for match in compiled(self.pattern, "words").finditer(text):
            if match.end() > match.start():
                _mark_gap(text, gap, match.start(), result)
                result[match.start()] = True
                gap = match.end()
        _mark_gap(text, gap, len(text), result)
        return result


def _mark_gap(text: str, start: int, stop: int, result: np.ndarray) -> None:
    for run in re.finditer(r"\S+", text[start:stop]):
        result[start + run.start()] = True


@functools.cache
def compiled(pattern: str, what: str) -> re.Pattern[str]:
    """The compiled expression of a recipe; UserError where it is none."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UserError(f"text.{what}.pattern is no regular expression: {error}: {pattern!r}") from None


def starts_of_many(words: Words, texts: list[str], points: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Word starts of texts laid end to end with one space after each.

    points: the code points of the whole; stops: [len(texts)] where each text ends (before its space).
    The space separates the texts' words, so that the default rules run once over the whole.
    """
    if type(words) is UnicodeWords:
        return unicode_starts(points)
    result = np.zeros(points.size, bool)
    for text, stop in zip(texts, stops.tolist()):
        result[stop - len(text) : stop] = words.starts(text)
    return result
