# SPDX-License-Identifier: Apache-2.0
"""Encoding a word at a time and each word once: the same ids, several times faster.

Exact where no piece reaches from one word into the next, which each tokenizer decides for itself.  (Not so
for sentencepiece's unigram: its float sums run over the whole text, and ties fall differently.)
"""

import itertools
import threading
from collections.abc import Callable

import numpy as np

WHITE = tuple(c for c in map(chr, range(0x3001)) if c.isspace())  # to Python's str.split and \s
_MAX_WORDS = 1 << 17  # about 30 MB
_MAX_LENGTH = 40  # characters of a word that is kept
# Above this mean length of a word, or share of new ones among them, a text has no spaces and its words
# (clauses, verses) don't repeat.
_WORTHWHILE, _MOST_NEW = 16, 0.5


class WordCache:
    """Ids of the words met so far, end to end.

    encode: (words, threads) -> the ids of each.  split: a text's words; their ids laid end to end are the
    text's, unless it holds a character of `foreign` (white space to Python alone).
    """

    def __init__(
        self,
        encode: Callable[[list[str], int], list[np.ndarray]],
        split: Callable[[str], list[str]],
        foreign: str,
    ):
        self._encode = encode
        self._split = split
        self._foreign = foreign
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}
        self._ids = np.zeros(0, np.int32)
        self._ends = np.zeros(1, np.int64)  # word i's ids end at [i + 1]

    def _suits(self, texts: list[str], words: int) -> bool:
        """Whether it is exact, and pays."""
        foreign = any(c in text for text in texts for c in self._foreign)
        return not foreign and sum(map(len, texts)) < _WORTHWHILE * words

    def encode(self, texts: list[str], num_threads: int) -> tuple[np.ndarray, np.ndarray] | None:
        """(all ids end to end int32, ids per text int64); None where inexact, or where it would not pay."""
        split = [self._split(text) for text in texts]
        counts = np.fromiter(map(len, split), np.int64, len(split))
        if not self._suits(texts, int(counts.sum())):
            return None
        words = list(itertools.chain.from_iterable(split))
        with self._lock:
            numbers = np.fromiter(map(self._numbers.get, words, itertools.repeat(-1)), np.int64, len(words))
            missing = np.flatnonzero(numbers < 0).tolist()
            ids, ends = self._ids, self._ends
            if missing:
                unknown = dict.fromkeys(words[i] for i in missing)
                if len(unknown) > _MOST_NEW * len(words):
                    return None
                ids, ends, new = self._add(unknown, num_threads)
                numbers[missing] = [new[words[i]] for i in missing]
        lengths = (ends[1:] - ends[:-1])[numbers]
        stops = np.concatenate([[0], np.cumsum(lengths)])
        where = np.repeat(ends[numbers] - stops[:-1], lengths)
        where += np.arange(stops[-1])
        word_stops = np.concatenate([[0], np.cumsum(counts)])
        return ids[where], np.diff(stops[word_stops])

    def _add(self, words: dict[str, None], num_threads: int) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
        """(all ids, their ends, number of each new word), of which the cache keeps what it has room for."""
        # Short ones first: those are the ones to keep.
        ordered = sorted(words, key=lambda word: len(word) > _MAX_LENGTH)
        arrays = self._encode(ordered, num_threads)
        known = self._ends.size - 1
        new = dict(zip(ordered, itertools.count(known)))
        lengths = np.fromiter(map(len, arrays), np.int64, len(arrays))
        ids = np.concatenate([self._ids[: self._ends[-1]], *arrays])
        ends = np.concatenate([self._ends, self._ends[-1] + np.cumsum(lengths)])
        short = sum(len(word) <= _MAX_LENGTH for word in ordered)
        room = max(0, min(short, _MAX_WORDS - known))
        self._numbers.update(itertools.islice(new.items(), room))
        self._ids, self._ends = ids[: ends[known + room]], ends[: known + room + 1]
        return ids, ends, new
