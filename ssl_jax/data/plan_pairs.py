# SPDX-License-Identifier: Apache-2.0
"""Sentence pairs for next-sentence prediction: the plan of BERT's objective.

In the spirit of Devlin et al. 2019 (arXiv:1810.04805, appendix A.2) and its create_pretraining_data.py,
which walks the corpus in sequence and can't be entered at row r; here every row is a closed form.
"""

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
from ssl_jax.data.plan_permutation import below, bits, derive, permute, uniform
from ssl_jax.text import EncodedDoc
from ssl_jax.types import OpenPlan, Row, UserError

SPECIALS = 3  # [CLS] A [SEP] B [SEP]
LABEL_BLOCK = 64
CHUNK = 1 << 20  # spans cut at once, to bound memory


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Rows of two parts: A, and B that follows it (label 0) or comes from another document (label 1).

    A document of two sentences or more is cut into ceil(tokens / room) spans of two sentences or more, of
    about equal tokens, at sentence boundaries; room = length - 3.  A golden-ratio offset moves the cuts
    from epoch to epoch.  A sentence drawn by the row splits its span into A and B.  Half of each block
    of 64 rows, drawn by the row, keeps A and takes as B text from a span of another document drawn by
    the row, as many tokens (to the nearest sentence) as the B that it replaces, so that lengths don't give
    the label away.  Pairs longer than the room lose tokens from the longer side, as BERT's do; how many at
    its front and how many at its back is drawn by the row (BERT tosses a coin a token: the same mean).

    short_seq_prob: share of rows truncated to a room drawn from [2, room] (BERT: 0.1, there by shorter
    spans); mix_by: what the weights of several sources count.
    """

    length: int = 128
    short_seq_prob: float = 0.0
    mix_by: MixUnit = MixUnit.ROWS

    def open(self, store: TokenStore, seed: int, shuffle: bool = True) -> OpenPlan:
        """Raises UserError for fewer than two documents of two sentences, or where most hold one."""
        at_least(self.length, SPECIALS + 2, "Pairs")
        return open_sources(self, OpenPairs, store, seed, shuffle)

    def typed(self, document: EncodedDoc) -> Row:
        """A true pair of one text's first and second half, cut at a sentence, or else in the middle."""
        room, size = self.length - SPECIALS, len(document.tokens)
        if size < 2:
            raise UserError("a pair of sentences needs two tokens or more; give a longer text")
        inner = [int(s) for s in document.sentence_starts if 0 < s < size]
        cut = min(inner, key=lambda s: abs(s - size / 2)) if inner else size // 2
        ends = min(cut, room // 2 + max(0, room // 2 - (size - cut))), size
        second = min(ends[1], cut + room - ends[0])
        return Row(0, (whole_part(document, 0, ends[0]), whole_part(document, cut, second)), label=0)


class OpenPairs(SourcePlan):
    def __init__(
        self, plan: Pairs, store: TokenStore, seed: int, shuffle: bool, source: int, docs: Documents
    ):
        self.room = plan.length - SPECIALS
        self._all = docs
        sentences = docs.last - docs.first
        self.docs = docs.keep(sentences >= 2)
        self._check(store.source_weights[source][0])
        self.sentences = np.asarray(store.sentence_offsets)
        spans = num_spans(self.docs, self.room)
        self.ends = np.concatenate([[0], np.cumsum(spans)])  # span j of document d is ends[d] + j
        super().__init__(plan, store, seed, shuffle, source, int(self.ends[-1]))
        self._cache = fingerprint("pairs", store, source, self.room, shuffle)  # cuts don't depend on the seed
        uses = ("split", "label", "other", "begin", "a", "b", "short", "room")
        self._keys = {use: derive(self.key, use) for use in uses}
        lengths = self._span_lengths()
        self._tokens = int(np.minimum(lengths, self.room).sum())
        self._truncated = int(lengths.sum()) - self._tokens

    def _check(self, name: str) -> None:
        total, kept = len(self._all), len(self.docs)
        if total - kept > kept:
            raise UserError(
                f"source {name}: {percent(total - kept, total)} of the documents hold one sentence, so "
                "none follows another; use the MaskedLm objective, longer documents or another text.sentences"
            )
        if kept < 2:
            raise UserError(
                f"source {name}: documents of two sentences or more: {kept}; sentence pairs need 2, since a "
                "random second part comes from another document; name more files or split them into documents"
            )

    def _span_lengths(self) -> np.ndarray:
        begin = self.arrays(0)["cuts"]
        end = np.concatenate([begin[1:], [0]])
        end[self.ends[1:] - 1] = self.docs.last
        return self.sentences[end] - self.sentences[begin]

    @property
    def num_tokens(self) -> int:
        """Of the first epoch, with every pair a true one."""
        return self._tokens + SPECIALS * self.num_rows

    def make_epoch(self, epoch: int) -> plan_cache.Arrays:
        golden = epoch * 0.6180339887498949
        offset = (golden - np.floor(golden + 0.5)) if self.shuffle else 0.0
        build = lambda: {"cuts": cut(self.docs, self.ends, self.sentences, offset)}
        return plan_cache.of_epoch(self._cache, epoch, 8 * self.num_rows, build)

    def slices(self, epoch: int, rows: np.ndarray, places: np.ndarray) -> Slices:
        doc, first, last = self._span(epoch, places)
        split = first + 1 + below(self._keys["split"], rows, last - first - 1)
        labels = self._labels(rows)
        a, a_end, b_end = self.sentences[first], self.sentences[split], self.sentences[last]
        b, b_doc = a_end.copy(), doc.copy()
        random = np.flatnonzero(labels)
        b_doc[random], b[random], b_end[random] = self._other(
            epoch, rows[random], doc[random], (b_end - b)[random]
        )
        a, a_end, b, b_end = self._truncate(rows, a, a_end, b, b_end)
        docs, begins, ends = (np.stack(x, axis=1).ravel() for x in ((doc, b_doc), (a, b), (a_end, b_end)))
        return Slices(
            np.full(len(rows), 2), self.docs.ids[docs], begins - self.docs.starts[docs], begins, ends, labels
        )

    def _span(self, epoch: int, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Document, first sentence, end sentence."""
        cuts = self.arrays(epoch)["cuts"]
        doc = np.searchsorted(self.ends, spans, "right") - 1
        follows = np.minimum(spans + 1, self.num_rows - 1)
        return doc, cuts[spans], np.where(spans + 1 == self.ends[doc + 1], self.docs.last[doc], cuts[follows])

    def _labels(self, rows: np.ndarray) -> np.ndarray:
        block, i = np.divmod(rows, LABEL_BLOCK)
        return (permute(i, LABEL_BLOCK, bits(self._keys["label"], block)) < LABEL_BLOCK // 2).astype(np.int64)

    def _other(
        self, epoch: int, rows: np.ndarray, doc: np.ndarray, target: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A document other than doc, and where about target tokens of it begin and end, by a span drawn
        evenly from those of all other documents."""
        own = self.ends[doc + 1] - self.ends[doc]
        span = below(self._keys["other"], rows, self.num_rows - own)
        span += np.where(span >= self.ends[doc], own, 0)
        other, first, last = self._span(epoch, span)
        first = first + 1 + below(self._keys["begin"], rows, last - first - 1)
        begin, stop = self.sentences[first], self.docs.stops[other]
        late = begin + target > stop  # then the text ends with its document and begins where it must
        stays = np.clip(nearest(self.sentences, begin + target), first + 1, self.docs.last[other])
        early = np.clip(nearest(self.sentences, stop - target), self.docs.first[other], first)
        end = self.sentences[np.where(late, self.docs.last[other], stays)]
        return other, self.sentences[np.where(late, early, first)], end

    def _truncate(
        self, rows: np.ndarray, a: np.ndarray, a_end: np.ndarray, b: np.ndarray, b_end: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        room = np.full(len(rows), self.room)
        if self.plan.short_seq_prob:
            short = uniform(self._keys["short"], rows) < self.plan.short_seq_prob
            room = np.where(short, 2 + below(self._keys["room"], rows, self.room - 1), room)
        keep_a, keep_b = truncated(a_end - a, b_end - b, room)
        a = a + below(self._keys["a"], rows, a_end - a - keep_a + 1)
        b = b + below(self._keys["b"], rows, b_end - b - keep_b + 1)
        return a, a + keep_a, b, b + keep_b

    def report(self) -> str:
        dropped = len(self._all) - len(self.docs)
        held = self._all.num_tokens
        kept = self.docs.num_tokens
        return (
            f"{self.name}: {self.num_rows:,} sentence pairs of {self.plan.length:,} from {len(self.docs):,} "
            f"documents, {percent(self.num_tokens, self.num_rows * self.plan.length)} filled; "
            f"{percent(self._truncated, kept)} of their tokens are truncated; {dropped:,} documents of one "
            f"sentence dropped ({percent(held - kept, held)} of the tokens)"
        )


def num_spans(docs: Documents, room: int) -> np.ndarray:
    """int64 [D]: enough spans for the document's tokens, but two sentences in each."""
    return np.minimum(-(-docs.lengths // room), (docs.last - docs.first) // 2)


def nearest(offsets: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The index of the entry of offsets (ascending) that is nearest to each of at; the lower one of two."""
    above = np.clip(np.searchsorted(offsets, at), 1, len(offsets) - 1)
    return np.where(at - offsets[above - 1] <= offsets[above] - at, above - 1, above)


def cut(docs: Documents, ends: np.ndarray, sentences: np.ndarray, offset: float) -> np.ndarray:
    """The first sentence of each span, int64 [ends[-1]].

    Cut j of n lies at the sentence boundary nearest to (j + offset') / n of the document's tokens, offset'
    being the epoch's offset in [-0.5, 0.5] times 1 - 1/n (few spans: small moves, or one would be too long).
    """
    out = np.empty(int(ends[-1]), np.int64)
    carried = np.int64(np.iinfo(np.int64).min)
    for begin in range(0, len(out), CHUNK):
        span = np.arange(begin, min(begin + CHUNK, len(out)))
        doc = np.searchsorted(ends, span, "right") - 1
        j, n = span - ends[doc], ends[doc + 1] - ends[doc]
        share = np.where(j == 0, 0.0, (j + offset * (1 - 1 / n)) / n)
        at = docs.starts[doc] + (docs.lengths[doc] * share).astype(np.int64)
        cuts = np.where(j == 0, docs.first[doc], nearest(sentences, at))
        # Two sentences a span: cut_j - 2j may never fall.  Seen from its end, cut_j <= last - 2 (n - j); with
        # both, one running maximum over all documents will do, since none reaches into the next one.
        cuts = np.minimum(cuts, docs.last[doc] - 2 * (n - j)) - 2 * span
        cuts[0] = max(cuts[0], carried)
        cuts = np.maximum.accumulate(cuts)
        carried = cuts[-1]
        out[begin : begin + len(span)] = cuts + 2 * span
    return out


def truncated(a: np.ndarray, b: np.ndarray, room: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What BERT's truncate_seq_pair leaves of each: while too long, the longer one loses one, B if equal."""
    keep_a = np.minimum(a, np.maximum(room - b, (room + 1) // 2))
    keep_b = np.minimum(b, np.maximum(room - a, room // 2))
    return keep_a, keep_b
