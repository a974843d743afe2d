# SPDX-License-Identifier: Apache-2.0
"""Best-fit packing of whole documents: the plan of masked language modelling alone (RoBERTa, section 4.2)."""

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
    percent,
    whole_part,
)
from ssl_jax.data.plan_mixture import MixUnit, open_sources
from ssl_jax.text import EncodedDoc
from ssl_jax.types import OpenPlan, Row, UserError


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Rows filled with slices of documents, each with `overhead` positions for its special tokens.

    A document longer than the room (length - overhead) is cut into slices of the room's size and a rest;
    rests and short documents are packed best-fit decreasing, by a histogram of lengths (Krell et al. 2021,
    arXiv:2107.02027, whose packers work on the histogram too).  Every token is in exactly one row.  The
    packing is the same in every epoch, since packed documents don't see each other; the rows' order changes.

    mix_by: what the weights of several sources count.
    """

    length: int = 512
    overhead: int = 2
    mix_by: MixUnit = MixUnit.ROWS

    def open(self, store: TokenStore, seed: int, shuffle: bool = True) -> OpenPlan:
        """Raises UserError where a source holds no token or the length leaves no room."""
        at_least(self.length, self.overhead + 1, "Packed")
        return open_sources(self, OpenPacked, store, seed, shuffle)

    def typed(self, document: EncodedDoc) -> Row:
        """The beginning of one text as a row of one part."""
        return Row(0, (whole_part(document, 0, self.length - self.overhead),))


class OpenPacked(SourcePlan):
    def __init__(
        self, plan: Packed, store: TokenStore, seed: int, shuffle: bool, source: int, docs: Documents
    ):
        if not len(docs):
            raise UserError(f"source {store.source_weights[source][0]}: no document holds a token")
        self.docs = docs
        key = fingerprint("packed", store, source, plan.length, plan.overhead)
        self._packed = plan_cache.fixed(
            key, 24 * len(docs), lambda: pack(docs.lengths, plan.length, plan.overhead)
        )
        super().__init__(plan, store, seed, shuffle, source, len(self._packed["rows"]) - 1)
        self._tokens = docs.num_tokens

    @property
    def num_tokens(self) -> int:
        return self._tokens + self.plan.overhead * len(self._packed["docs"])

    def slices(self, epoch: int, rows: np.ndarray, places: np.ndarray) -> Slices:
        ends = self._packed["rows"]
        first = ends[places]
        counts = ends[places + 1] - first
        within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        which = np.repeat(first, counts) + within
        doc, start = self._packed["docs"][which], self._packed["starts"][which]
        begins = self.docs.starts[doc] + start
        room = self.plan.length - self.plan.overhead
        return Slices(
            counts, self.docs.ids[doc], start, begins, np.minimum(begins + room, self.docs.stops[doc])
        )

    def report(self) -> str:
        room = self.plan.length - self.plan.overhead
        cut, slices = int(np.sum(self.docs.lengths > room)), len(self._packed["docs"])
        return (
            f"{self.name}: {len(self.docs):,} documents packed into {self.num_rows:,} rows of "
            f"{self.plan.length:,}, {percent(self.num_tokens, self.num_rows * self.plan.length)} filled, "
            f"{slices / self.num_rows:.1f} slices a row; {cut:,} documents longer than {room:,} are cut"
        )


def pack(lengths: np.ndarray, length: int, overhead: int) -> plan_cache.Arrays:
    """Rows of slices from the lengths of documents (int64 [D], all > 0).

    Returns `rows` int64 [N + 1]: row i holds slices rows[i]:rows[i + 1]; `docs` and `starts` int64 [S]: each
    slice's document (index into lengths) and first token.  A slice ends after length - overhead tokens or
    with its document.
    """
    room = length - overhead
    whole, rest = np.divmod(lengths, room)
    docs = np.repeat(np.arange(len(lengths)), whole)
    starts = (np.arange(len(docs)) - np.repeat(np.cumsum(whole) - whole, whole)) * room
    short = np.flatnonzero(rest)
    sizes = rest[short] + overhead
    by_size = short[np.argsort(sizes.astype(np.uint16 if length < 1 << 16 else np.int64), kind="stable")]
    histogram = np.bincount(sizes, minlength=length + 1)
    nexts = (np.cumsum(histogram) - histogram).tolist()  # where the slices of each size begin in by_size
    counts, packed = [np.ones(len(docs), np.int64)], []
    for recipe, times in best_fit(histogram.tolist(), length):
        columns = []
        for size, many in recipe:
            taken = by_size[nexts[size] : nexts[size] + many * times]
            nexts[size] += many * times
            columns.append(taken.reshape(times, many))
        row = np.concatenate(columns, axis=1)
        counts.append(np.full(times, row.shape[1]))
        packed.append(row.ravel())
    rests = np.concatenate([np.zeros(0, np.int64), *packed])
    return {
        "rows": np.concatenate([[0], np.cumsum(np.concatenate(counts))]),
        "docs": np.concatenate([docs, rests]),
        "starts": np.concatenate([starts, whole[rests] * room]),
    }


Recipe = tuple[tuple[int, int], ...]  # (size, how many of it) of one row


def best_fit(histogram: list[int], capacity: int) -> list[tuple[Recipe, int]]:
    """Best-fit decreasing on a histogram (size -> count): (what a row holds, how many such rows).

    Equal rows are one entry, so the time depends on capacity, hardly on the number of documents.
    """
    open_rows: dict[int, list[tuple[Recipe, int]]] = {}  # free positions -> rows
    free = 0  # bit f is set when open_rows[f] is not empty
    for size in range(len(histogram) - 1, 0, -1):
        count = histogram[size]
        while count:
            fitting = free >> size
            if not fitting:
                break
            space = size + (fitting & -fitting).bit_length() - 1  # the least that fits
            recipe, times = open_rows[space].pop()
            if not open_rows[space]:
                free &= ~(1 << space)
            many = min(space // size, count)  # a row that took one of them is the best fit of the next
            used = min(times, count // many)
            if used < times:
                _put(open_rows, space, recipe, times - used)
                free |= 1 << space
            _put(open_rows, space - size * many, (*recipe, (size, many)), used)
            free |= 1 << (space - size * many)
            count -= used * many
        many = capacity // size
        for each, times in ((many, count // many), (count % many, 1)):
            if each and times:
                _put(open_rows, capacity - size * each, ((size, each),), times)
                free |= 1 << (capacity - size * each)
    return [entry for space in sorted(open_rows) for entry in open_rows[space]]


def _put(open_rows: dict[int, list[tuple[Recipe, int]]], space: int, recipe: Recipe, times: int) -> None:
    open_rows.setdefault(space, []).append((recipe, times))
