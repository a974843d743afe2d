# SPDX-License-Identifier: Apache-2.0
"""Documents to tokens, sentence starts and word starts: the hot path of `prepare`.

A document's tokens are what the tokenizer makes of the whole document; a sentence begins with the first
token that begins in it, so that the sentences' tokens laid end to end are the document's.  Everything
per token and per character is numpy over a batch of documents (see pieces.py for the alignment).
"""

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ssl_jax.text.chars import clean, codes
from ssl_jax.text.config import Text
from ssl_jax.text.pieces import BYTE, INSIDE, UNKNOWN, Aligned
from ssl_jax.text.words import starts_of_many

# Characters.  A batch bounds memory (about 60 bytes a character); a longer document is cut into sections
# before its sentences are looked for, and at sentences into chunks, which the tokenizer's threads share.
_BATCH, _SECTION, _CHUNK = 1 << 20, 1 << 20, 1 << 14
_SAMPLED = 64  # one document in this many is decoded again
_SAMPLED_CHARS = 2000


class EncodedDoc(NamedTuple):
    """One document.

    tokens: [n] int32.  sentence_starts: [s] int64, strictly increasing, the first 0 (none where n is 0).
    word_starts: [n] bool.  characters, unknown, byte_fallback: of the text, and [UNK] and byte pieces
    among the tokens.  sampled_characters, sampled_lost: in the sampled documents (one in 64, by a hash of
    their text; at most 2,000 characters of each), visible characters looked at, and lost when decoded.
    """

    tokens: np.ndarray
    sentence_starts: np.ndarray
    word_starts: np.ndarray
    characters: int
    unknown: int
    byte_fallback: int
    sampled_characters: int = 0
    sampled_lost: int = 0


class _Batch(NamedTuple):
    """Texts on their way to the tokenizer: a chunk is a document or, of a long one, some sentences.

    Places are characters of the chunks laid end to end with one space after each.
    """

    chunks: list[str]
    continues: list[bool]  # the chunk goes on with the document of the chunk before
    sentences: list[int]  # where sentences start
    docs: list[str]
    doc_chunks: list[int]  # chunks before the end of each document
    doc_sentences: list[int]  # sentences before the end of each document


class Encoder:
    """Encodes documents by a recipe's `text` section with its trained tokenizer."""

    def __init__(self, tokenizer: Aligned, text: Text):
        self.tokenizer = tokenizer
        self.text = text

    def encode_documents(self, documents: Sequence[str], num_threads: int = 1) -> list[EncodedDoc]:
        """One EncodedDoc each, in order; the result depends on each document alone."""
        result: list[EncodedDoc] = []
        # The tokenizer works on one batch, without the interpreter's lock, while this thread cuts the
        # next one and counts the last one's characters.
        with ThreadPoolExecutor(1) as pool:
            waiting: list[tuple[_Batch, Future]] = []
            for group in _groups(documents):
                batch = self._gather(group)
                waiting.append((batch, pool.submit(self._tokens, batch, num_threads)))
                if len(waiting) > 1:
                    result += self._finish(*waiting.pop(0))
            if waiting:
                result += self._finish(*waiting.pop())
        return result

    def _tokens(self, batch: "_Batch", num_threads: int) -> tuple[np.ndarray, np.ndarray]:
        return self.tokenizer.encode_flat(batch.chunks, batch.continues, num_threads)

    # -------------------------------------------------------------------------------- cutting

    def _gather(self, documents: Sequence[str]) -> _Batch:
        batch = _Batch([], [], [], [], [], [])
        place = 0
        for document in documents:
            document = clean(document)
            go_on = False
            for chunk, starts in self._chunks(document):
                batch.chunks.append(chunk)
                batch.continues.append(go_on)
                batch.sentences.extend([place + start for start in starts])
                place += len(chunk) + 1
                go_on = True
            batch.docs.append(document)
            batch.doc_chunks.append(len(batch.chunks))
            batch.doc_sentences.append(len(batch.sentences))
        return batch

    def _chunks(self, document: str) -> Iterator[tuple[str, list[int]]]:
        """(chunk, where sentences start in it): the chunks laid end to end are the document."""
        for section in _sections(document):
            starts = self._sentence_starts(section)
            begin = first = 0
            for i, (start, stop) in enumerate(zip(starts[1:], [*starts[2:], len(section)]), 1):
                # Only where white space precedes: no tokenizer's piece reaches over it.
                if stop - begin > _CHUNK and section[start - 1].isspace():
                    cut = begin + len(section[begin:start].rstrip())
                    yield section[begin:cut], [s - begin for s in starts[first:i]]
                    begin, first = cut, i
            yield section[begin:], [s - begin for s in starts[first:]]

    def _sentence_starts(self, section: str) -> list[int]:
        most = self.text.max_sentence_chars
        starts: list[int] = []
        for start, stop in self.text.sentences.split(section):
            starts.append(start)
            if stop - start > most:
                starts += [start + cut for cut in self._cuts(section[start:stop], most)]
        return starts

    def _cuts(self, sentence: str, most: int) -> list[int]:
        """Where a long sentence is cut: at word starts, by force only within a word longer than most."""
        words = np.flatnonzero(self.text.words.starts(sentence))
        cuts, start = [], 0
        while len(sentence) - start > most:
            word = int(words[np.searchsorted(words, start + most, "right") - 1])
            start = word if word > start else start + most
            cuts.append(start)
        return cuts

    # ------------------------------------------------------------------------------- aligning

    def _finish(self, batch: _Batch, tokens: Future) -> Iterator[EncodedDoc]:
        lengths = np.fromiter(map(len, batch.chunks), np.int64, len(batch.chunks))
        stops = np.cumsum(lengths + 1) - 1
        points = codes(" ".join(batch.chunks) + " ")
        visible = self.tokenizer.normal_length(points)
        places = np.flatnonzero(visible) if visible.max() <= 1 else np.repeat(np.arange(points.size), visible)
        starts = starts_of_many(self.text.words, batch.chunks, points, stops)
        ids, counts = tokens.result()
        begins = self._begins(batch, np.append(places, points.size - 1), stops, ids, counts)
        words = starts[begins]
        words[1:] &= begins[1:] != begins[:-1]
        return self._split(batch, ids, np.cumsum(counts), begins, words)

    def _begins(
        self, batch: _Batch, places: np.ndarray, stops: np.ndarray, ids: np.ndarray, counts: np.ndarray
    ) -> np.ndarray:
        """[n] int64: the place of each token's first visible character.

        places: of every visible character, in order, and one more.  Chunks whose lengths don't agree (a
        lost character, a composition across characters) are asked for their offsets.
        """
        lengths, flags = self.tokenizer.piece_lengths[ids], self.tokenizer.piece_flags[ids]
        ends = np.cumsum(lengths, dtype=np.int64)
        token_stops = np.cumsum(counts)
        total = np.concatenate([[0], ends])[token_stops]
        expected = np.searchsorted(places[:-1], stops)
        bad = np.diff(total, prepend=0) != np.diff(expected, prepend=0)
        bad |= np.asarray(_counts(flags & UNKNOWN != 0, token_stops - counts, token_stops)) > 0
        # Bad chunks before a token don't count: its chunk's own place, then the lengths within the chunk.
        shift = np.concatenate([[0], (expected - total)[:-1]])
        order = ends - lengths - (flags & INSIDE != 0) + np.repeat(shift, counts)
        begins = places[np.clip(order, 0, places.size - 1)]
        where = np.flatnonzero(bad).tolist()
        chunks, continues = [batch.chunks[i] for i in where], [batch.continues[i] for i in where]
        for i, offsets in zip(where, self.tokenizer.encode_offsets(chunks, continues)):
            offsets = np.maximum.accumulate(offsets) + (stops[i] - len(batch.chunks[i]))
            begins[token_stops[i] - counts[i] : token_stops[i]] = places[
                np.searchsorted(places[:-1], offsets)
            ]
        # White space that ends a chunk begins no character in it.
        return np.minimum(begins, np.repeat(stops, counts))

    def _split(
        self, batch: _Batch, ids: np.ndarray, token_stops: np.ndarray, begins: np.ndarray, words: np.ndarray
    ) -> Iterator[EncodedDoc]:
        doc_stops = token_stops[np.asarray(batch.doc_chunks) - 1]
        doc_starts = np.concatenate([[0], doc_stops[:-1]])
        owner = np.repeat(np.arange(len(batch.docs)), np.diff(batch.doc_sentences, prepend=0))
        starts = np.searchsorted(begins, np.asarray(batch.sentences, np.int64))
        first = np.diff(owner, prepend=-1) != 0
        starts[first] = doc_starts[owner[first]]
        # A sentence of invisible characters alone, or swallowed by the piece before, has no token.
        keep = (starts < doc_stops[owner]) & (first | (np.diff(starts, prepend=-1) != 0))
        starts = starts[keep] - doc_starts[owner[keep]]
        sentence_stops = np.cumsum(np.bincount(owner[keep], minlength=len(batch.docs)))
        flags = self.tokenizer.piece_flags[ids]
        unknown = _counts(flags & UNKNOWN != 0, doc_starts, doc_stops)
        in_bytes = _counts(flags & BYTE != 0, doc_starts, doc_stops)
        sentence = 0
        for document, begin, stop, last, unk, fallback in zip(
            batch.docs, doc_starts.tolist(), doc_stops.tolist(), sentence_stops.tolist(), unknown, in_bytes
        ):
            yield EncodedDoc(
                ids[begin:stop],
                starts[sentence:last],
                words[begin:stop],
                len(document),
                unk,
                fallback,
                *self._round_trip(document),
            )
            sentence = last

    def _round_trip(self, document: str) -> tuple[int, int]:
        """(visible characters looked at, lost) where the document is in the sample."""
        if zlib.crc32(document[:256].encode()) % _SAMPLED:
            return 0, 0
        original = Counter("".join(document[:_SAMPLED_CHARS].split()))
        decoded = self.tokenizer.decode(self.tokenizer.encode(document[:_SAMPLED_CHARS]))
        return original.total(), (original - Counter(decoded)).total()


def _counts(flag: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> list[int]:
    if not flag.any():
        return [0] * len(starts)
    total = np.concatenate([[0], np.cumsum(flag)])
    return (total[stops] - total[starts]).tolist()


def _groups(documents: Sequence[str]) -> Iterator[Sequence[str]]:
    """Runs of documents of about _BATCH characters."""
    first = size = 0
    for i, document in enumerate(documents, 1):
        size += len(document) + 1
        if size >= _BATCH or i == len(documents):
            yield documents[first:i]
            first, size = i, 0


def _sections(document: str) -> Iterator[str]:
    """The document in parts of at most _SECTION characters, cut before white space where there is some."""
    start = 0
    while len(document) - start > _SECTION:
        half, end = start + _SECTION // 2, start + _SECTION
        cut = max(document.rfind("\n\n", half, end), -1)
        for separator in ("\n", " "):
            cut = cut if cut > 0 else document.rfind(separator, half, end)
        cut = cut if cut > 0 else end
        yield document[start:cut]
        start = cut
    yield document[start:]
