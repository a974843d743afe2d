# SPDX-License-Identifier: Apache-2.0
"""What is hidden from a masked language model: tokens, whole words or spans of words (host, numpy).

BERT (Devlin et al. 2019, section 3.1), whole words (google-research/bert, 2019), spans (SpanBERT, Joshi et
al. 2020, section 3.1).  One row at a time; every random number comes from the generator that is handed in.
T positions of a row, K masked slots, V the tokenizer's true vocabulary.
"""

import enum
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int32

from ssl_jax.types import Meta, Rng, UserError


class MaskUnit(enum.Enum):
    """What is hidden as one piece."""

    TOKEN = "token"
    WORD = "word"
    SPAN = "span"


class Drawable(NamedTuple):
    """The tokenizer as masking sees it; entries that pad the vocabulary inside the model are not in it."""

    mask: int  # the id written over a hidden token
    maskable: Bool[np.ndarray, " V"]  # False for specials and control pieces
    ids: Int32[np.ndarray, " n"]  # what a random replacement is drawn from


def drawable(meta: Meta) -> Drawable:
    """The tables of a run's tokenizer, which must have a mask token; built once, not once a row."""
    tokenizer = meta.tokenizer
    maskable = np.ones(tokenizer.vocab_size, bool)
    maskable[list(tokenizer.undrawable | tokenizer.specials.ids())] = False
    return Drawable(tokenizer.specials.mask, maskable, np.flatnonzero(maskable).astype(np.int32))


class Masked(NamedTuple):
    """One row after masking.  Unused slots point at position 0 with target 0 and weight 0."""

    tokens: Int32[np.ndarray, " T"]  # as the model reads them
    where: Int32[np.ndarray, " K"]  # positions, ascending
    targets: Int32[np.ndarray, " K"]  # what stood there
    weights: Float[np.ndarray, " K"]  # 1 for a used slot, else 0


@dataclass(frozen=True, kw_only=True)
class Masking:
    """How much is hidden, in which pieces, and what the model sees in its place.

    Count.  A row with n maskable tokens hides `max(1, floor(rate * n + 1/2))` of them, without replacement
    (none if n = 0).  Special tokens and control pieces are neither hidden nor drawn.
    - TOKEN: exactly that many tokens.
    - WORD: whole words, in random order, each taken if it still fits into what is left of the count, so that
      no word is ever split.  The count is met as soon as words short enough are there, never exceeded but
      for one case: where no word fits at all, the first that fits into the K slots is taken.
      A word that holds a token which may not be hidden is left out, and out of n.
    - SPAN: runs of words, their length (in words) geometric with `span_p`, cut off at `max_span` and
      normalised (0.2 and 10: 3.8 words on average), each from the start of a random word that is not
      hidden yet, up to a hidden word or the end of its text.  The last span is cut where the count is met,
      inside a word if need be: exactly that many tokens.

    Replacement.  A hidden token becomes the mask token with probability `mask`, a uniformly drawn
    ordinary token with probability `random` (which may be the token itself), and else stays as it is.
    Drawn for each token (TOKEN and, as BERT's code does, WORD), or once for a whole span (SPAN, as SpanBERT).

    Raises UserError where rates and lengths are not what they must be.
    """

    rate: float = 0.15
    mask: float = 0.8
    random: float = 0.1
    unit: MaskUnit = MaskUnit.TOKEN
    span_p: float = 0.2
    max_span: int = 10

    def __post_init__(self):
        if not 0 < self.rate <= 1:
            raise UserError(f"masking.rate is {self.rate}: give a share above 0 and at most 1 (BERT: 0.15)")
        if min(self.mask, self.random) < 0 or self.mask + self.random > 1 + 1e-9:
            raise UserError(
                f"masking.mask={self.mask} and masking.random={self.random}: "
                "both are shares, at most 1 together (BERT: 0.8 and 0.1; the rest stays as it is)"
            )
        if not 0 < self.span_p < 1 or self.max_span < 1:
            raise UserError(
                f"masking.span_p={self.span_p} must lie between 0 and 1 and masking.max_span={self.max_span} "
                "be at least 1 (SpanBERT: 0.2 and 10)"
            )

    def slots(self, length: int) -> int:
        """K, the masked positions that a row of `length` has room for: a multiple of 4, so that 15 % of 128
        and 512 give BERT's own 20 and 80."""
        return 4 * math.ceil(round(self.rate * length, 6) / 4)

    def count(self, num_maskable: int) -> int:
        """How many of a row's maskable tokens are hidden."""
        return min(num_maskable, max(1, math.floor(self.rate * num_maskable + 0.5)))

    def apply(
        self, tokens: Int32[np.ndarray, " T"], word_starts: Bool[np.ndarray, " T"], vocab: Drawable, rng: Rng
    ) -> Masked:
        """Masks one row; pure in its arguments and the state of `rng`.

        word_starts marks the first token of every word, and every special token (each is a word of its own).
        """
        maskable = vocab.maskable[tokens]
        if self.unit is MaskUnit.TOKEN:
            where, pieces = self._choose_tokens(maskable, rng)
        elif self.unit is MaskUnit.WORD:
            where, pieces = self._choose_words(maskable, word_starts, rng)
        else:
            where, pieces = self._choose_spans(maskable, word_starts, rng)
        order = np.argsort(where)
        where, n = where[order], len(where)
        fate = (rng.random(n)[pieces] if pieces is not None else rng.random(n))[order]
        drawn = vocab.ids[rng.integers(len(vocab.ids), size=n)]

        slots = self.slots(len(tokens))
        out = Masked(tokens.copy(), *(np.zeros(slots, t) for t in (np.int32, np.int32, np.float32)))
        out.where[:n], out.targets[:n], out.weights[:n] = where, tokens[where], 1
        seen = np.where(fate < self.mask + self.random, drawn, out.targets[:n])
        out.tokens[where] = np.where(fate < self.mask, vocab.mask, seen)
        return out

    def _choose_tokens(self, maskable: np.ndarray, rng: Rng) -> tuple[np.ndarray, None]:
        candidates = np.flatnonzero(maskable)
        return rng.permutation(candidates)[: self.count(len(candidates))], None

    def _choose_words(
        self, maskable: np.ndarray, word_starts: np.ndarray, rng: Rng
    ) -> tuple[np.ndarray, None]:
        begin, end = _words(maskable, word_starts)
        sizes = end - begin
        order = rng.permutation(len(begin))
        sizes_in_order = sizes[order].tolist()
        left = self.count(int(sizes.sum()))
        taken = []
        for word, size in zip(order.tolist(), sizes_in_order):
            if size <= left:
                taken.append(word)
                left -= size
                if not left:
                    break
        if not taken:  # no word is short enough
            slots = self.slots(len(maskable))
            taken = [w for w, size in zip(order.tolist(), sizes_in_order) if size <= slots][:1]
        where = [np.arange(begin[w], end[w]) for w in taken]
        return np.concatenate([np.empty(0, np.int64), *where]), None

    def _choose_spans(
        self, maskable: np.ndarray, word_starts: np.ndarray, rng: Rng
    ) -> tuple[np.ndarray, np.ndarray]:
        begin, end = (x.tolist() for x in _words(maskable, word_starts))
        left = self.count(sum(end) - sum(begin))
        # Anchors without replacement: the same as drawing with it and throwing hidden ones away.
        anchors = rng.permutation(len(begin)).tolist()
        lengths = self._span_lengths(len(begin), rng).tolist()
        hidden = [False] * len(begin)
        where: list[int] = []
        pieces: list[int] = []  # which span each position belongs to
        for span, (word, length) in enumerate(zip(anchors, lengths)):
            if not left:
                break
            first = word
            while not hidden[word]:
                hidden[word] = True
                size = min(end[word] - begin[word], left)
                where.extend(range(begin[word], begin[word] + size))
                pieces.extend([span] * size)
                left -= size
                word += 1
                at_end = word == len(begin) or begin[word] != end[word - 1]
                if not left or at_end or word - first == length:
                    break
        # Spans that found their anchor hidden leave gaps in the numbering: renumber, one draw a span.
        _, pieces = np.unique(np.asarray(pieces, np.int64), return_inverse=True)
        return np.asarray(where, np.int64), pieces

    def _span_lengths(self, num: int, rng: Rng) -> np.ndarray:
        """Geometric lengths 1..max_span by inverting the normalised distribution."""
        cumulative = np.cumsum(self.span_p * (1 - self.span_p) ** np.arange(self.max_span))
        return 1 + np.searchsorted(cumulative[:-1] / cumulative[-1], rng.random(num), side="right")


def _words(maskable: np.ndarray, word_starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First token and one past the last token of each word that may be hidden."""
    begin = np.flatnonzero(word_starts)
    end = np.append(begin[1:], len(maskable))
    whole = np.logical_and.reduceat(maskable, begin)
    return begin[whole], end[whole]
