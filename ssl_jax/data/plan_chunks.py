# SPDX-License-Identifier: Apache-2.0
"""Concatenate and chunk: the plan of next-token prediction, without padding."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from ssl_jax.data import plan_cache
from ssl_jax.data.plan_base import (
    Documents,
    Slices,
    SourcePlan,
    TokenStore,
    at_least,
    fingerprint,
    whole_part,
)
from ssl_jax.data.plan_mixture import MixUnit, open_sources
from ssl_jax.data.plan_permutation import derive, permute
from ssl_jax.text import EncodedDoc
from ssl_jax.types import OpenPlan, Row, UserError


@dataclass(frozen=True, kw_only=True)
class Chunks:
    """Every document behind one special token, all in one stream, cut every `length` tokens.

    The stream of an epoch is [BOS] + tokens for each document, in a permuted order if shuffled, closed by
    one BOS.  Row i covers its positions [i * T, i * T + T + 1): T inputs, and T targets one further, so that
    each token of the stream but the first is a target exactly once an epoch.  The last row may be short.

    A `Part` whose start is -1 begins with the document's BOS, which its tokens exclude; the objective writes
    it.  It has no tokens where the row ends at the BOS; the closing BOS belongs to no document (doc -1).

    mix_by: what the weights of several sources count.
    """

    length: int = 1024
    mix_by: MixUnit = MixUnit.ROWS

    def open(self, store: TokenStore, seed: int, shuffle: bool = True) -> OpenPlan:
        """Raises UserError where a source holds no token."""
        at_least(self.length, 1, "Chunks")
        return open_sources(self, OpenChunks, store, seed, shuffle)

    def typed(self, document: EncodedDoc) -> Row:
        """The beginning of one text, behind its BOS."""
        part = whole_part(document, 0, self.length)
        return Row(0, (dataclasses.replace(part, start=-1),))


class OpenChunks(SourcePlan):
    """Documents are permuted anew each epoch, and the two arrays that a row's search needs are kept for two
    epochs.  A fixed order with only rows permuted would save them, but would show a model whose attention
    crosses documents the same neighbours in each epoch; a million documents cost a quarter of a second.
    """

    def __init__(
        self, plan: Chunks, store: TokenStore, seed: int, shuffle: bool, source: int, docs: Documents
    ):
        if not len(docs):
            raise UserError(f"source {store.source_weights[source][0]}: no document holds a token")
        self.docs = docs
        self._num_tokens = docs.num_tokens + len(docs)
        super().__init__(plan, store, seed, shuffle, source, -(-self._num_tokens // plan.length))
        self._cache = fingerprint("chunks", store, seed, source)  # the length doesn't matter to the order

    @property
    def num_tokens(self) -> int:
        return self._num_tokens

    def make_epoch(self, epoch: int) -> plan_cache.Arrays:
        def build() -> plan_cache.Arrays:
            order = np.arange(len(self.docs), dtype=np.int64)
            if self.shuffle:
                order = permute(order, len(order), derive(self.key, "documents", epoch))
            at = np.zeros(len(order) + 1, np.int64)
            np.cumsum(self.docs.stops[order] - self.docs.starts[order] + 1, out=at[1:])
            return {"order": order, "at": at}

        return (
            plan_cache.of_epoch(self._cache, epoch, 16 * len(self.docs), build) if self.shuffle else build()
        )

    def slices(self, epoch: int, rows: np.ndarray, places: np.ndarray) -> Slices:
        order, at = (self.arrays(epoch)[name] for name in ("order", "at"))
        length, closing = self.plan.length, len(order)
        begin = places * length
        end = np.minimum(begin + length, at[-1]) + 1
        first = np.searchsorted(at, begin, "right") - 1
        counts = np.searchsorted(at, end - 1, "right") - first
        row = np.repeat(np.arange(len(places)), counts)
        which = first[row] + np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        doc = order[np.minimum(which, closing - 1)]
        closes = which == closing
        size = np.where(closes, 0, self.docs.stops[doc] - self.docs.starts[doc])
        # Counted from the document's BOS, then from its first token.
        a = np.maximum(begin[row] - at[which], 0)
        b = np.minimum(end[row] - at[which], size + 1)
        base = self.docs.starts[doc]
        return Slices(
            counts,
            docs=np.where(closes, -1, self.docs.ids[doc]),
            starts=a - 1,
            begins=base + np.maximum(a - 1, 0),
            ends=base + b - 1,
        )

    def report(self) -> str:
        return (
            f"{self.name}: {len(self.docs):,} documents chunked into {self.num_rows:,} rows of "
            f"{self.plan.length:,} tokens, {self._num_tokens:,} targets an epoch"
        )
