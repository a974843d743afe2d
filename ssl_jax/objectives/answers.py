# SPDX-License-Identifier: Apache-2.0
"""From start and end logits to answers cut from the text (host, numpy).

W windows of one question, T positions of a row.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ssl_jax.data.plan_windows import Window
from ssl_jax.types import Row

Numbers = Int[np.ndarray, " spans"]
NOTHING_ELSE = 1e30  # null odds where there is no answer at all; finite, for files


class Answer(NamedTuple):
    """text = context[begin:end]; the logits are those of its first and of its last token."""

    text: str
    begin: int
    end: int
    start_logit: float
    end_logit: float

    @property
    def score(self) -> float:
        return self.start_logit + self.end_logit


class Found(NamedTuple):
    """What the windows of one question say.

    best: answers of different texts, the highest score first; empty where no token is visible.
    null: no answer, [CLS] as start and end of the window where their score is lowest: one window that is
    sure of an answer is enough.
    """

    best: tuple[Answer, ...]
    null: Answer

    @property
    def null_odds(self) -> float:
        """By how much "no answer" beats the best answer: above a threshold the question has none."""
        return self.null.score - self.best[0].score if self.best else NOTHING_ELSE


def probabilities(ranked: Sequence[Answer]) -> Float[np.ndarray, " answers"]:
    """softmax of their scores."""
    return softmax(np.array([answer.score for answer in ranked]))


def softmax(logits: Float[np.ndarray, "*lead n"]) -> Float[np.ndarray, "*lead n"]:
    """Over the last axis, on the host."""
    powers = np.exp(logits - logits.max(-1, keepdims=True, initial=-np.inf))
    return powers / powers.sum(-1, keepdims=True)


def questions(rows: Sequence[Row]) -> Iterator[tuple[Row, slice]]:
    """The first row of each question, and where the rows of all its windows are (rows of a plan in order)."""
    for _, group in itertools.groupby(range(len(rows)), lambda r: rows[r].fields["window"].record):
        numbers = list(group)
        yield rows[numbers[0]], slice(numbers[0], numbers[-1] + 1)


def find(
    windows: Sequence[Window],
    start: Float[np.ndarray, "W T"],
    end: Float[np.ndarray, "W T"],
    *,
    n_best: int,
    max_tokens: int,
) -> Found:
    """The n_best answers of at most max_tokens tokens, by start logit + end logit, over all windows.

    A span counts in one window alone: the one where it has most context, as BERT's run_squad.py has it for
    single tokens, min(tokens to its left, tokens to its right) + 0.01 * tokens of the window; the first of
    equals.  Start and end are judged together, so that no span is lost between two windows.  Of equal scores
    the one that begins first, and then the shorter, comes first.
    """
    nulls = [Answer("", 0, 0, float(s), float(e)) for s, e in zip(start[:, 0], end[:, 0])]
    found = []
    for w, window in enumerate(windows):
        first, last = spans(len(window.begins), max_tokens)
        wanted = (window.begins[first] < window.ends[last]) & most_context(windows, w, first, last)
        first, last = first[wanted], last[wanted]
        scores = start[w, window.first + first].astype(np.float64) + end[w, window.first + last]
        found.append((np.full(len(first), w), first + window.start, last + window.start, scores))
    numbers, firsts, lasts, scores = (np.concatenate(arrays) for arrays in zip(*found))
    best: dict[str, Answer] = {}
    for i in ranked(scores, firsts, lasts, 8 * n_best):
        w, window = numbers[i], windows[numbers[i]]
        first, last = firsts[i] - window.start, lasts[i] - window.start
        begin, stop = int(window.begins[first]), int(window.ends[last])
        text = window.context[begin:stop]
        logits = float(start[w, window.first + first]), float(end[w, window.first + last])
        best.setdefault(text, Answer(text, begin, stop, *logits))
        if len(best) == n_best:
            break
    return Found(tuple(best.values()), min(nulls, key=lambda answer: answer.score))


def spans(count: int, max_tokens: int) -> tuple[Numbers, Numbers]:
    """First and last token of each span of at most max_tokens among count tokens."""
    most = min(max_tokens, count)
    first = np.repeat(np.arange(count), most)
    last = first + np.tile(np.arange(most), count)
    return first[last < count], last[last < count]


def ranked(
    scores: Float[np.ndarray, " spans"], firsts: Numbers, lasts: Numbers, enough: int
) -> Iterator[int]:
    """Indices from the highest score on; ties by firsts, then by lasts.  Sorts all only after `enough`."""
    bar = np.partition(scores, -enough)[-enough] if enough < len(scores) else -np.inf
    for some in (scores >= bar, scores < bar):
        where = np.flatnonzero(some)
        yield from where[np.lexsort((lasts[where], firsts[where], -scores[where]))].tolist()


def most_context(
    windows: Sequence[Window], w: int, first: Numbers, last: Numbers
) -> Bool[np.ndarray, " spans"]:
    """Whether window w, of all the windows, is the one where each of its own spans has most context."""
    mine = windows[w]
    first, last = mine.start + first, mine.start + last
    here, most = context(mine, first, last), np.ones(len(first), bool)
    for other, window in enumerate(windows):
        if other != w and window.start < mine.stop and mine.start < window.stop:
            there = context(window, first, last)
            most &= here > there if other < w else here >= there
    return most


def context(window: Window, first: Numbers, last: Numbers) -> Float[np.ndarray, " spans"]:
    """BERT's measure of a window for spans of the whole context's tokens; -inf where they don't lie in it."""
    left, right = first - window.start, window.stop - 1 - last
    size = 0.01 * (window.stop - window.start)
    return np.where((left >= 0) & (right >= 0), np.minimum(left, right) + size, -np.inf)
