# SPDX-License-Identifier: Apache-2.0
"""What every plan shares: documents of one source, blocks of rows computed at once, fingerprints.

A plan is a closed form from a row's number to slices of documents.  It is evaluated for a block of rows in
vectorised numpy; a row then only reads its slices.
"""

import abc
import dataclasses
import hashlib
import threading
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ssl_jax.data.plan_permutation import derive, permute
from ssl_jax.text import EncodedDoc
from ssl_jax.types import Part, Row, UserError

FORMAT = 1  # of the plans; a change of any row's content must change it
BLOCK = 512  # rows computed at once
KEPT_BLOCKS = 32


def whole_part(document: EncodedDoc, start: int, stop: int) -> Part:
    """A slice of an encoded document that is in no store."""
    return Part(0, start, document.tokens[start:stop], document.word_starts[start:stop])


class TokenStore(Protocol):
    """What a plan reads of a store.  Offsets are int64, in tokens of the store."""

    fingerprint: str
    doc_offsets: np.ndarray  # [documents + 1]
    sentence_offsets: np.ndarray  # [sentences + 1], where each sentence starts; the last is the end
    doc_sentences: np.ndarray  # [documents + 1], indices into sentence_offsets
    doc_sources: np.ndarray  # [documents], indices into source_weights
    source_weights: tuple[tuple[str, float], ...]

    def tokens(self, start: int, stop: int) -> np.ndarray: ...  # int32
    def word_starts(self, start: int, stop: int) -> np.ndarray: ...  # bool


@dataclass(frozen=True)
class Documents:
    """The documents of one source that hold a token, as parallel int64 arrays [D].

    starts, stops: token offsets; first, last: their sentences are sentence_offsets[first:last];
    ids: their numbers in the store.
    """

    starts: np.ndarray
    stops: np.ndarray
    first: np.ndarray
    last: np.ndarray
    ids: np.ndarray

    @classmethod
    def of(cls, store: TokenStore, source: int | None = None) -> "Documents":
        offsets, sentences = np.asarray(store.doc_offsets), np.asarray(store.doc_sentences)
        keep = offsets[1:] > offsets[:-1]
        if source is not None:
            keep &= np.asarray(store.doc_sources) == source
        ids = np.flatnonzero(keep)
        if len(ids) == len(keep):  # nothing dropped: views of the store's own arrays
            return cls(offsets[:-1], offsets[1:], sentences[:-1], sentences[1:], ids)
        return cls(offsets[ids], offsets[ids + 1], sentences[ids], sentences[ids + 1], ids)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> np.ndarray:
        return self.stops - self.starts

    @property
    def num_tokens(self) -> int:
        return int(np.sum(self.lengths))

    def keep(self, mask: np.ndarray) -> "Documents":
        return Documents(*(getattr(self, f.name)[mask] for f in dataclasses.fields(self)))


@dataclass(frozen=True)
class Slices:
    """The slices of a block of rows, flat: row i has counts[i] of them; arrays [sum of counts] unless said.

    counts [n]; docs: numbers in the store; starts: the first token within the document (-1: see `Chunks`);
    begins, ends: token offsets in the store; labels: [n], or None.
    """

    counts: np.ndarray
    docs: np.ndarray
    starts: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    labels: np.ndarray | None = None


class SourcePlan(abc.ABC):
    """A plan over the documents of one source.  Implements `types.OpenPlan`."""

    def __init__(self, plan: Any, store: TokenStore, seed: int, shuffle: bool, source: int, num_rows: int):
        self.plan, self.store, self.shuffle = plan, store, shuffle
        self.num_rows = num_rows
        self.name = store.source_weights[source][0]
        self.key = derive(seed, "source", source)
        self.fingerprint = fingerprint(plan, store, seed, shuffle, source)
        self._blocks: dict[tuple[int, int], tuple[list, list, list]] = {}
        self._epochs: dict[int, Any] = {}
        self._lock = threading.RLock()

    @property
    @abc.abstractmethod
    def num_tokens(self) -> int: ...

    @abc.abstractmethod
    def report(self) -> str: ...

    @abc.abstractmethod
    def slices(self, epoch: int, rows: np.ndarray, places: np.ndarray) -> Slices:
        """The slices of rows (int64 [n], all of one epoch), which stand at places in [0, N) of that epoch."""

    def arrays(self, epoch: int) -> Any:
        """What `slices` needs of an epoch, made by `make_epoch`; the last two are kept."""
        epoch = epoch if self.shuffle else 0
        with self._lock:
            if epoch not in self._epochs:
                self._epochs[epoch] = self.make_epoch(epoch)
                while len(self._epochs) > 2:
                    del self._epochs[next(iter(self._epochs))]
            return self._epochs[epoch]

    def make_epoch(self, epoch: int) -> Any:
        return None

    def __getitem__(self, r: int) -> Row:
        return self.row(r, r)

    def row(self, r: int, row_id: int) -> Row:
        """Row r of this source, known as row_id in the mixture."""
        epoch, place = divmod(r, self.num_rows)
        block, i = divmod(place, BLOCK)
        found = self._blocks.get((epoch, block))
        ends, slices, labels = self._load(epoch, block) if found is None else found
        tokens, words = self.store.tokens, self.store.word_starts
        parts = tuple([Part(d, s, tokens(a, b), words(a, b)) for d, s, a, b in slices[ends[i] : ends[i + 1]]])
        return Row(row_id, parts, labels[i] if labels else None)

    def _load(self, epoch: int, block: int) -> tuple[list, list, list]:
        first, stop = block * BLOCK, min((block + 1) * BLOCK, self.num_rows)
        places = np.arange(first, stop, dtype=np.int64)
        rows = places + epoch * self.num_rows
        if self.shuffle:
            places = permute(places, self.num_rows, derive(self.key, "rows", epoch))
        found = self.slices(epoch, rows, places)
        ends = [0, *np.cumsum(found.counts).tolist()]
        flat = zip(found.docs.tolist(), found.starts.tolist(), found.begins.tolist(), found.ends.tolist())
        loaded = ends, list(flat), [] if found.labels is None else found.labels.tolist()
        with self._lock:
            while len(self._blocks) >= KEPT_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
            self._blocks[epoch, block] = loaded
        return loaded


def fingerprint(plan: Any, store: TokenStore, *words: Any) -> str:
    """sha256 of the store, the plan with its fields, the format of plans, and words."""
    text = repr((FORMAT, store.fingerprint, type(plan).__module__, plan, *words))
    return hashlib.sha256(text.encode()).hexdigest()


def at_least(length: int, smallest: int, plan: str) -> None:
    if length < smallest:
        raise UserError(
            f"{plan}(length={length}): too short for a token and the specials; at least {smallest}"
        )


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "0.0 %"
