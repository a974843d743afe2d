# SPDX-License-Identifier: Apache-2.0
"""What the encoder must know about a tokenizer's pieces to place them in the text they came from.

Offsets that a tokenizer reports cost several times the encoding itself.  Instead: a text's visible
characters are counted as the normaliser leaves them (`normal_length`), a piece's length is the number of
visible characters that begin in it, and where both sums agree the running sum of lengths *is* the place.
"""

import abc
from collections.abc import Iterator, Sequence

import numpy as np

from ssl_jax.text.chars import CharTable
from ssl_jax.types import Specials

# Flags of a piece.
BARE = 1  # holds only white space: the next piece goes on with the word that it begins
INSIDE = 2  # begins inside a character (the second byte of one): never begins a word
UNKNOWN = 4  # what it stood for, and how long it was, is lost
BYTE = 8  # a byte-fallback piece


class Aligned(abc.ABC):
    """A types.Tokenizer that the encoder can align with its text.

    normal_length: code point -> visible characters of its normal form.
    piece_lengths: [vocab] int32, visible characters that begin in a piece; piece_flags: [vocab] uint8.
    """

    normal_length: CharTable
    piece_lengths: np.ndarray
    piece_flags: np.ndarray

    @property
    @abc.abstractmethod
    def vocab_size(self) -> int: ...

    @property
    @abc.abstractmethod
    def specials(self) -> Specials: ...

    @property
    @abc.abstractmethod
    def fingerprint(self) -> str: ...

    @property
    @abc.abstractmethod
    def undrawable(self) -> frozenset[int]: ...

    @abc.abstractmethod
    def encode(self, text: str) -> np.ndarray: ...

    @abc.abstractmethod
    def encode_batch(self, texts: Sequence[str], num_threads: int = 1) -> list[np.ndarray]: ...

    @abc.abstractmethod
    def encode_flat(
        self, texts: list[str], continues: Sequence[bool], num_threads: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """(all ids end to end int32, ids per text int64) of texts without lone surrogates.

        continues: this text goes on where other text stopped: no leading mark that it doesn't hold.
        """

    @abc.abstractmethod
    def encode_offsets(self, texts: list[str], continues: Sequence[bool]) -> Iterator[np.ndarray]:
        """[n] int64 a text: the character each id begins at, white space before it counted in."""

    @abc.abstractmethod
    def encode_with_masks(self, text: str) -> np.ndarray: ...

    @abc.abstractmethod
    def decode(self, ids: Sequence[int]) -> str: ...

    @abc.abstractmethod
    def pieces(self, ids: Sequence[int]) -> list[str]: ...


def concatenate(arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(arrays end to end int32, their lengths int64)."""
    counts = np.fromiter(map(len, arrays), np.int64, len(arrays))
    return (np.concatenate(arrays) if len(arrays) else np.zeros(0, np.int32)), counts
