# SPDX-License-Identifier: Apache-2.0
"""A token store in memory with the interface of `ssl_jax.data.Store`, for tests of plans and objectives."""

import hashlib
from collections.abc import Sequence

import numpy as np


class FakeStore:
    """Documents as lists of sentences, each a list of token ids.

    word_starts: one array a document, [n] bool; without it every token begins a word.
    """

    def __init__(
        self,
        documents: Sequence[Sequence[Sequence[int]]],
        word_starts: Sequence[Sequence[bool]] | None = None,
        sources: Sequence[int] | None = None,
        source_weights: tuple[tuple[str, float], ...] = (("fake", 1.0),),
    ):
        sentences = [np.asarray(s, np.int32) for doc in documents for s in doc]
        lengths = [sum(len(s) for s in doc) for doc in documents]
        self._tokens = np.concatenate([np.zeros(0, np.int32), *sentences])
        if word_starts is None:
            self._words = np.ones(len(self._tokens), bool)
        else:
            self._words = np.concatenate([np.zeros(0, bool), *[np.asarray(w, bool) for w in word_starts]])
        assert len(self._words) == len(self._tokens)
        self.doc_offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.sentence_offsets = np.concatenate([[0], np.cumsum([len(s) for s in sentences])]).astype(np.int64)
        self.doc_sentences = np.concatenate([[0], np.cumsum([len(d) for d in documents])]).astype(np.int64)
        self.doc_sources = np.asarray(sources if sources is not None else [0] * len(documents), np.uint16)
        self.source_weights = tuple(source_weights)
        digest = hashlib.sha256(repr(self.source_weights).encode())
        for array in (
            self._tokens,
            self._words,
            self.doc_offsets,
            self.sentence_offsets,
            self.doc_sentences,
            self.doc_sources,
        ):
            digest.update(np.ascontiguousarray(array).tobytes())
        self.fingerprint = digest.hexdigest()

    @classmethod
    def from_documents(cls, documents, **kwargs) -> "FakeStore":
        return cls(documents, **kwargs)

    @classmethod
    def random(cls, seed: int, documents: int, vocab: int = 50, max_sentences: int = 6, max_tokens: int = 12):
        """Documents of 1 to max_sentences sentences of 1 to max_tokens tokens; the first token of each
        document begins a word, any other one with probability 0.6."""
        rng = np.random.default_rng(seed)
        docs = [
            [
                rng.integers(5, vocab, rng.integers(1, max_tokens + 1)).tolist()
                for _ in range(rng.integers(1, max_sentences + 1))
            ]
            for _ in range(documents)
        ]
        words = []
        for doc in docs:
            starts = rng.random(sum(map(len, doc))) < 0.6
            starts[0] = True
            words.append(starts)
        return cls(docs, word_starts=words)

    @property
    def num_documents(self) -> int:
        return len(self.doc_offsets) - 1

    @property
    def num_tokens(self) -> int:
        return len(self._tokens)

    def tokens(self, start: int, stop: int) -> np.ndarray:
        return self._tokens[start:stop]

    def word_starts(self, start: int, stop: int) -> np.ndarray:
        return self._words[start:stop]

    def document(self, doc: int) -> np.ndarray:
        return self.tokens(int(self.doc_offsets[doc]), int(self.doc_offsets[doc + 1]))
