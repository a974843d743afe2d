# SPDX-License-Identifier: Apache-2.0
"""Where sentences end: a recipe's choice, for sentence pairs and for cutting long documents."""

import re
from dataclasses import dataclass
from typing import Protocol

from ssl_jax.text.words import compiled


class Sentences(Protocol):
    """A recipe's sentence boundaries."""

    def split(self, text: str) -> list[tuple[int, int]]:
        """[(start, stop)] in characters, in order, never empty, white space at both ends left out."""


# Enders that need white space after them, and those that don't.
_WESTERN = ".!?…‼⁇⁈⁉"
_OTHERS = (
    "。！？｡．"  # Chinese, Japanese
    "।॥"  # Devanagari and its sisters
    "؟۔؞"  # Arabic, Urdu
    "།༎༏༐༑"  # Tibetan
    "។៕"  # Khmer
    "။"  # Burmese
    "։"  # Armenian
    "።፧፨"  # Ethiopic
    "᠃᠉"  # Mongolian
)
_CLOSERS = r"""["'”’»›)\]}」』】〉》）］｝〕〗〙〞＂*_]"""
_LOWER = "a-zß-öø-ÿα-ωа-яё"  # a sentence does not begin with these
_SPACED = "\u0e01-\u0e4e\u0e81-\u0ece"  # Thai and Lao end a clause with a space alone
# One leading set lets `re` skip from candidate to candidate; possessive quantifiers, and looking at the
# first of a run of enders alone, keep it linear.
# Group 1: the white space that is no part of the sentence.
_END = re.compile(
    rf"[{_WESTERN}{_OTHERS}\n{_SPACED}](?<![{_WESTERN}{_OTHERS}][{_WESTERN}{_OTHERS}])(?:"
    rf"(?<=[{_WESTERN}])[{_WESTERN}{_OTHERS}]*+{_CLOSERS}*+(\s++)(?![{_LOWER}])"
    rf"|(?<=[{_OTHERS}])[{_OTHERS}{_WESTERN}]*+{_CLOSERS}*+"
    r"|(?<=\n)[^\S\n]*+\n"
    rf"|(?<=[{_SPACED}])\s++(?=[{_SPACED}]))"
)
_END_OR_LINE = re.compile(_END.pattern + r"|\n")
_OPENERS = "\"'“‘«‹([{*_¿¡„"
# Before any word, and before a number only.
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof rev hon st mt gen col capt lt sgt cmdr sen rep gov pres messrs mme mlle mm vs viz cf "  # noqa: SIM905
    "e.g i.e eg ie approx dept esq jr sr jan feb apr aug sept sep oct nov dec ca bzw vgl sog hr fr frau "
    "sra srta ud uds г ул им см т.е т.к".split()
)
_NUMBERED = frozenset(
    "no nos vol vols p pp fig figs ch chap sec art eq ed nr abs bd str pl св стр рис".split()  # noqa: SIM905
)


@dataclass(frozen=True, kw_only=True)
class UnicodeSentences:
    """Enders of every script with the quotes that close after them, and blank lines.

    Western enders need white space and no small letter after them, and a point does not end a sentence
    after an initial (J. Smith), a word with points inside (U.S.) or an abbreviation (Mr., e.g., No. 5).
    Thai and Lao, which have no ender, are cut at their spaces.  A single line break ends a sentence only
    where `line_breaks` says so (verse, subtitles).  abbreviations: more of them, in small letters,
    without their last point.
    """

    line_breaks: bool = False
    abbreviations: tuple[str, ...] = ()

    def split(self, text: str) -> list[tuple[int, int]]:
        spans = []
        start = 0
        more = self.abbreviations
        for match in (_END_OR_LINE if self.line_breaks else _END).finditer(text):
            first, stop = match.span()
            if text[first] == "." and _is_abbreviation(text, start, first, stop, more):
                continue
            _append(spans, text, start, stop)
            start = stop
        _append(spans, text, start, len(text))
        return spans


def _append(spans: list[tuple[int, int]], text: str, start: int, stop: int) -> None:
    """Adds text[start:stop] without the white space at its ends, unless that is all it is."""
    piece = text[start:stop]
    bare = piece.strip()
    if bare:
        start += len(piece) - len(piece.lstrip())
        spans.append((start, start + len(bare)))


def _is_abbreviation(text: str, start: int, point: int, stop: int, more: tuple[str, ...]) -> bool:
    """Whether the point at text[point] belongs to the word before it (the match ends at stop)."""
    if text[point + 1 : stop].strip():  # "..." or a closing quote
        return False
    before = text[max(start, point - 16) : point].split()
    if not before:
        return False
    word = before[-1].lstrip(_OPENERS)
    if len(word) == 1:
        return word.isupper() and word != "I" and text[point - 2 : point - 1] != "'"
    small = word.lower()
    if small in _ABBREVIATIONS or small in more:
        return True
    if small in _NUMBERED:
        return text[stop : stop + 1].isdigit()
    return "." in word and all(len(part) == 1 for part in word.split(".")) and not word[-1].isdigit()


@dataclass(frozen=True, kw_only=True)
class RegexSentences:
    """Every match of `pattern` (Python's `re`) ends a sentence: r"\\n" makes each line one."""

    pattern: str

    def __post_init__(self):
        compiled(self.pattern, "sentences")

    def split(self, text: str) -> list[tuple[int, int]]:
        spans: list[tuple[int, int]] = []
        start = 0
        for match in compiled(self.pattern, "sentences").finditer(text):
            _append(spans, text, start, match.end())
            start = match.end()
        _append(spans, text, start, len(text))
        return spans
