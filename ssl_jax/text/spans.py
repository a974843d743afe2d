# SPDX-License-Identifier: Apache-2.0
"""Tokens of a stretch of text, whatever the tokenizer: by characters, not by how pieces are written."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from ssl_jax.text.chars import clean
from ssl_jax.text.pieces import BARE, INSIDE, Aligned


class Located(NamedTuple):
    """A text's tokens and where they stand in it, in characters; both never decrease.

    A token goes on until the next one begins, so that what the normaliser joins or drops (a combining mark,
    say) belongs to the token before it.  Tokens that begin at one character share it: the bytes of a
    character without a piece, the letters of a ligature.  bare: the token stands for white space alone.
    """

    text: str
    tokens: Int[np.ndarray, " n"]
    starts: Int[np.ndarray, " n"]
    stops: Int[np.ndarray, " n"]
    bare: Bool[np.ndarray, " n"]

    def covering(self, start: int, stop: int) -> Int[np.ndarray, " k"]:
        """The tokens that hold text[start:stop], bare ones apart: none where no token holds any of it."""
        start, stop = self.visible(start, stop)
        first = np.searchsorted(self.stops, start, side="right")
        last = np.searchsorted(self.starts, stop, side="left") if start < stop else first
        found = np.arange(first, last)
        return found[~self.bare[found]]

    def visible(self, start: int, stop: int) -> tuple[int, int]:
        """[start, stop) without the white space at its ends."""
        while start < stop and self.text[start].isspace():
            start += 1
        while stop > start and self.text[stop - 1].isspace():
            stop -= 1
        return start, stop


def locate(tokenizer: Aligned, text: str) -> Located:
    """The tokens of a text, no special ones among them."""
    text = clean(text)
    tokens = tokenizer.encode(text)
    (starts,) = tokenizer.encode_offsets([text], [False])
    starts = np.maximum.accumulate(starts)
    places = np.unique(starts)
    stops = np.append(places, len(text))[np.searchsorted(places, starts) + 1] if len(starts) else starts
    flags = tokenizer.piece_flags[tokens]
    for i in np.flatnonzero(flags[1:] & INSIDE)[::-1]:  # the token before holds the character's first byte
        stops[i] = max(stops[i], stops[i + 1])
    return Located(text, tokens, starts, stops, flags & BARE != 0)
