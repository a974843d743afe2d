# SPDX-License-Identifier: Apache-2.0
"""SQuAD's exact match and F1 as its official scripts define them, and the threshold of "no answer".

Rajpurkar et al. 2016 (arXiv:1606.05250) and 2018 (arXiv:1806.03822).  Scores are shares, not per cent.
"""

import collections
import enum
import re
import string
import unicodedata
from collections.abc import Sequence

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_ASCII_PUNCTUATION = frozenset(string.punctuation)
# Han, Hiragana and Katakana, half-width ones included: scripts that put no space between words.
_UNSPACED = re.compile(
    "([\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af])"
)


class AnswerWords(enum.Enum):
    """The words of an answer that are compared, in any language.

    SPACES: the official scripts': lower case, ASCII punctuation out, the words a, an and the out, split at
    white space.  CHARACTERS: for Chinese and Japanese, as MLQA's script does for Chinese (Lewis et al.
    2020): lower case, punctuation of every script out, split at white space and around each Chinese or
    Japanese character, which is a word of its own; a run of Latin letters or digits stays one word.
    """

    SPACES = "spaces"
    CHARACTERS = "characters"

    def of(self, text: str) -> list[str]:
        text = text.lower()
        if self is AnswerWords.SPACES:
            text = "".join(c for c in text if c not in _ASCII_PUNCTUATION)
            return _ARTICLES.sub(" ", text).split()
        kept = (c for c in text if c not in _ASCII_PUNCTUATION and unicodedata.category(c)[0] != "P")
        return _UNSPACED.sub(r" \1 ", "".join(kept)).split()


def exact(predicted: Sequence[str], gold: Sequence[str]) -> float:
    """1.0 where the words are the same."""
    return float(list(predicted) == list(gold))


def f1(predicted: Sequence[str], gold: Sequence[str]) -> float:
    """Of the words as multisets; 0 where none is shared (SQuAD 1.1)."""
    same = sum((collections.Counter(predicted) & collections.Counter(gold)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(predicted), same / len(gold)
    return 2 * precision * recall / (precision + recall)


def f1_or_null(predicted: Sequence[str], gold: Sequence[str]) -> float:
    """As f1, but 1 where both have no word (SQuAD 2.0)."""
    return f1(predicted, gold) if predicted and gold else exact(predicted, gold)


def best_threshold(odds: Sequence[float], answered: Sequence[float], silent: Sequence[float]) -> float:
    """The threshold of the null odds with the highest mean score; odds above it mean "no answer".

    odds: of each question; answered, silent: its score with the best answer, and with none.  Halfway between
    two questions' odds, or 1 beyond the lowest or the highest; of equals the one nearest to 0.
    """
    order = np.argsort(odds, kind="stable")
    sorted_odds = np.asarray(odds, np.float64)[order]
    gains = (np.asarray(answered, np.float64) - np.asarray(silent, np.float64))[order]
    total = np.concatenate([[0.0], np.cumsum(gains)])  # with the n lowest odds answered
    edges = np.concatenate([[sorted_odds[0] - 2], sorted_odds, [sorted_odds[-1] + 2]])
    between = (edges[:-1] + edges[1:]) / 2
    between = between[edges[:-1] < edges[1:]]
    total = total[edges[:-1] < edges[1:]]
    best = np.flatnonzero(total >= total.max() - 1e-9)
    return float(between[best[np.argmin(np.abs(between[best]))]])
