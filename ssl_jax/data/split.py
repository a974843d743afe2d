# SPDX-License-Identifier: Apache-2.0
"""Which side of the held-out split a document falls on, and whether it was seen before: both by one hash."""

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

from ssl_jax.types import UserError

_SPACE = b"\t\n\v\f\r\x1c\x1d\x1e\x1f "
_LOWER = bytes(range(65)) + bytes(range(97, 123)) + bytes(range(91, 256))


def document_key(text: str) -> bytes:
    """8 bytes of blake2b of the document in NFKC, case-folded, without ASCII white space.

    Copies that differ in case, line breaks or Unicode form share a key, so they never straddle the split.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).casefold()
    return hashlib.blake2b(text.encode().translate(_LOWER, _SPACE), digest_size=8).digest()


def keys_of(texts: Sequence[str]) -> np.ndarray:
    """Keys of documents as uint64 [n], never 0 (which marks a free slot in KeySet)."""
    keys = np.frombuffer(b"".join(map(document_key, texts)), "<u8").astype(np.uint64)
    return np.maximum(keys, np.uint64(1))


def threshold(heldout: float) -> int:
    """Documents whose key lies below it are held out."""
    return int(heldout * 2.0**64)


def settle_threshold(texts: Iterable[str], heldout: float) -> int:
    """The threshold for a share, moved where chance would leave a small corpus with less than two documents
    on a side (sentence pairs need two): then the share is exact, by the lowest keys.

    Reads until both sides have two: about 2 / heldout documents of a large corpus, all of a small one.
    Raises UserError where the corpus holds no document, or one only.
    """
    limit = threshold(heldout)
    keys: tuple[set[int], set[int]] = set(), set()
    count = 0
    for text in texts:
        if text.isspace() or not text:
            continue
        count += 1
        key = int(keys_of([text])[0])
        keys[key < limit].add(key)
        if len(keys[0]) > 1 and len(keys[1]) > 1:
            return limit
    if not count:
        raise UserError("data.source holds no document with any text")
    ordered = sorted(keys[0] | keys[1])
    if len(ordered) == 1:
        what = "one document" if count == 1 else f"copies of one document ({count})"
        raise UserError(
            f"data.source holds {what}, so nothing can be held out; set data.unit=line or data.unit=block to "
            "cut it into documents, add more, or set data.heldout=0"
        )
    held = max(min(2, len(ordered) // 2), round(heldout * len(ordered)))
    return ordered[min(held, len(ordered) - 1)]


class KeySet:
    """A set of non-zero uint64 keys, 11 to 23 bytes a key: open addressing, linear probing, vectorised."""

    def __init__(self, capacity: int = 1 << 12):
        self._table = np.zeros(capacity, np.uint64)  # a power of two
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, keys: np.ndarray) -> np.ndarray:
        """Adds keys [n]; bool [n], True where a key was not there before (the first of several equal)."""
        unique, first = np.unique(keys, return_index=True)
        while self._count + len(unique) > 0.7 * len(self._table):
            old = self._table[self._table != 0]
            self._table = np.zeros(2 * len(self._table), np.uint64)
            self._insert(old)
        fresh = np.zeros(len(keys), bool)
        fresh[first] = self._insert(unique)
        self._count += int(fresh.sum())
        return fresh

    def _insert(self, keys: np.ndarray) -> np.ndarray:
        """Inserts distinct keys; True where a key was new."""
        mask = np.uint64(len(self._table) - 1)
        new = np.zeros(len(keys), bool)
        rest = np.arange(len(keys))
        slots = keys & mask
        while len(rest):
            at = slots[rest]
            held = self._table[at]
            free = held == 0
            self._table[at[free]] = keys[rest[free]]  # of several claims to one slot the last wins
            won = free & (self._table[at] == keys[rest])
            new[rest[won]] = True
            rest = rest[~won & (held != keys[rest])]
            slots[rest] = (slots[rest] + np.uint64(1)) & mask
        return new
