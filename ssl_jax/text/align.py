# SPDX-License-Identifier: Apache-2.0
"""Words that are given, and a text that holds them: the first token of each.  W words, n tokens a text."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ssl_jax.text.chars import clean, codes
from ssl_jax.text.pieces import Aligned
from ssl_jax.text.words import Words


class Firsts(NamedTuple):
    """first: [W] int64, the first token that begins in each word; -1 where none does: all its characters are
    dropped by the tokenizer, or lie in a token of the word before.
    inside: [W] bool, the word has a token of its own, but its first character lies in one of the word before.
    """

    first: np.ndarray
    inside: np.ndarray


def first_tokens(
    tokenizer: Aligned, texts: Sequence[str], offsets: Sequence[np.ndarray], words: Sequence[np.ndarray]
) -> list[Firsts]:
    """Of each text: which token is the first of each of its words.

    offsets: [n] a text, the character at which each of its tokens begins (Aligned.encode_offsets); words:
    [W, 2] a text, the characters [start, stop) of each word, in order and without overlap.  A token begins in
    the word that holds its first visible character: white space before a word, and characters that the
    tokenizer drops, are no word's.  No text holds a lone surrogate (chars.clean).
    """
    if not texts:
        return []
    lengths = np.fromiter(map(len, texts), np.int64, len(texts)) + 1  # a space ends each
    bases = np.cumsum(lengths) - lengths
    visible = _visible(tokenizer, " ".join([*texts, ""]))
    counts = [len(one) for one in offsets]
    places = np.maximum.accumulate(np.concatenate(offsets) + np.repeat(bases, counts))
    begins = visible[np.searchsorted(visible[:-1], places)]
    # A last token without a visible character begins at its text's end, not in the next text.
    begins = np.minimum(begins, np.repeat(bases + lengths - 1, counts))

    sizes = [len(one) for one in words]
    start, stop = (np.concatenate(words) + np.repeat(bases, sizes)[:, None]).T
    first = np.searchsorted(begins, start)
    at = np.append(begins, visible[-1])[first]
    own = at < stop
    inside = own & (at > visible[np.searchsorted(visible[:-1], start)])
    first = np.where(own, first - np.repeat(np.cumsum(counts) - counts, sizes), -1)
    ends = np.cumsum(sizes)[:-1]
    return [Firsts(*one) for one in zip(np.split(first, ends), np.split(inside, ends))]


def _visible(tokenizer: Aligned, text: str) -> np.ndarray:
    """Where the tokenizer makes something of a character, be it [UNK], in order; then the text's length."""
    points = codes(text)
    visible = tokenizer.normal_length(points) > 0
    for code in np.unique(points[~visible]).tolist():
        # A space mark typed as such adds nothing to a piece's length, and yet is a token for some.
        if not chr(code).isspace() and tokenizer.encode(chr(code)).size:
            visible |= points == code
    return np.append(np.flatnonzero(visible), len(text))


def joined(words: Sequence[str], separator: str = " ") -> tuple[str, np.ndarray]:
    """(text, [W, 2] where each word is in it) of words that are given."""
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    starts = np.cumsum(lengths + len(separator)) - lengths - len(separator)
    return separator.join(words), np.stack([starts, starts + lengths], axis=1)


def word_spans(text: str, words: Words) -> np.ndarray:
    """[W, 2] where each word is in a text that nobody split, by a recipe's word boundaries."""
    starts = [*np.flatnonzero(words.starts(clean(text))).tolist(), len(text)]
    spans = [(a, a + len(text[a:b].rstrip())) for a, b in itertools.pairwise(starts)]
    return np.array(spans, np.int64).reshape(-1, 2)
