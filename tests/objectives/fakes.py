# SPDX-License-Identifier: Apache-2.0
"""A tokenizer and rows without files, for the tests of objectives."""

import numpy as np

from ssl_jax.types import Meta, Part, Row, Specials

PAD, UNK, CLS, SEP, MASK, BOS = range(6)
NAMES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[BOS]")
CONTROL = 6  # a control piece: neither masked nor drawn, and no special token


class FakeTokenizer:
    """Pieces as sentencepiece writes them: "▁" before a token that follows a space.

    Ids 0..5 are special, 6 is a control piece, the others are `words` and then "▁w10", "w11", ...
    """

    fingerprint = "fake"

    def __init__(self, vocab_size: int = 60, words: tuple[str, ...] = (), specials: Specials | None = None):
        numbered = [f"{'▁' * (i % 2 == 0)}w{i}" for i in range(7 + len(words), vocab_size)]
        self._pieces = [*NAMES, "<ctrl>", *words, *numbered]
        self.vocab_size = vocab_size
        self.specials = specials or Specials(pad=PAD, unk=UNK, cls=CLS, sep=SEP, mask=MASK, bos=BOS)
        self.undrawable = self.specials.ids() | {CONTROL}

    def id(self, piece: str) -> int:
        return self._pieces.index(piece)

    def pieces(self, ids) -> list[str]:
        return [self._pieces[i] for i in ids]

    def decode(self, ids) -> str:
        text = "".join(self._pieces[i] for i in ids if i >= 7)
        return text.replace("▁", " ").removeprefix(" ")


def part(rng: np.random.Generator, length: int, vocab_size: int = 60, doc: int = 0, start: int = 0) -> Part:
    """Random ordinary tokens; two in three begin a word."""
    word_starts = rng.random(length) < 2 / 3
    return Part(doc, start, rng.integers(7, vocab_size, length).astype(np.int32), word_starts)


def pair_rows(length: int, num: int, vocab_size: int = 60) -> list[Row]:
    """Pairs of very unequal lengths, so that rows have unequal mask counts."""
    rows = []
    for r in range(num):
        rng = np.random.default_rng([1, r])
        room = length - 3 if r % 3 == 0 else int(rng.integers(4, length - 3))
        cut = int(rng.integers(2, room - 1))
        parts = (
            part(rng, cut, vocab_size, doc=r),
            part(rng, room - cut, vocab_size, doc=r + r % 2, start=cut),
        )
        rows.append(Row(r, parts, label=r % 2))
    return rows


def packed_rows(length: int, num: int, vocab_size: int = 60) -> list[Row]:
    rows = []
    for r in range(num):
        rng = np.random.default_rng([2, r])
        parts, left = [], length if r % 3 == 0 else int(rng.integers(6, length))
        while left >= 4:
            size = int(rng.integers(2, left - 1))
            parts.append(part(rng, size, vocab_size, doc=10 * r + len(parts)))
            left -= size + 2
        rows.append(Row(r, tuple(parts)))
    return rows


def chunk_rows(length: int, num: int, vocab_size: int = 60) -> list[Row]:
    """Rows of length + 1 stream tokens; the last one is half empty."""
    rows = []
    for r in range(num):
        rng = np.random.default_rng([3, r])
        total = length + 1 if r < num - 1 else (length + 1) // 2
        first = int(rng.integers(1, total - 2))
        rest = total - first - 1
        parts = (
            part(rng, first, vocab_size, doc=r, start=9),
            part(rng, rest, vocab_size, doc=r + 1, start=-1),
        )
        rows.append(Row(r, parts))
    return rows


def span_rows(length: int, num: int, vocab_size: int = 60, spare: int = 2) -> list[Row]:
    """Questions and windows, at most spare positions short; of 8, one has no answer, one an unknown one."""
    rows = []
    for r in range(num):
        rng = np.random.default_rng([4, r])
        room = length - 3 - int(rng.integers(0, spare + 1))
        question = int(rng.integers(2, 6))
        parts = part(rng, question, vocab_size, doc=r), part(rng, room - question, vocab_size, doc=r)
        first = int(rng.integers(0, room - question))
        answer = (first, min(first + int(rng.integers(0, 4)), room - question - 1))
        rows.append(Row(r, parts, label={3: (), 7: None if r % 16 == 7 else (-1, -1)}.get(r % 8, answer)))
    return rows


TAGS = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")


def tag_rows(length: int, num: int, vocab_size: int = 60) -> list[Row]:
    """Sentences of very unequal lengths, in each the last word without a token of its own."""
    rows = []
    for r in range(num):
        rng = np.random.default_rng([4, r])
        size = length - 2 if r % 3 == 0 else int(rng.integers(3, length - 3))
        sentence = part(rng, size, vocab_size, doc=r)
        first = np.append(np.flatnonzero(sentence.word_starts), -1)
        tags = tuple(TAGS[i] for i in rng.integers(0, len(TAGS), len(first)))
        fields = {"first": first, "file": "x.conll", "lines": tuple(range(1, len(first) + 1)), "sentence": r}
        rows.append(Row(r, (sentence,), tags, fields))
    return rows


def meta(vocab_size: int = 60, labels: tuple[str, ...] = (), **kwargs) -> Meta:
    return Meta(tokenizer=FakeTokenizer(vocab_size, **kwargs), labels=labels)
