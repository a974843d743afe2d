# SPDX-License-Identifier: Apache-2.0
"""Stores for tests of plans, whose tokens say where they stand: token i of the store has id i."""

import numpy as np
from hypothesis import strategies as st

from tests.data.fake_store import FakeStore

# Documents as tuples of sentence lengths; () is a document without a token.
lengths = st.lists(st.integers(1, 12), min_size=1, max_size=12)
documents = st.lists(st.one_of(lengths, st.just([]), st.lists(st.integers(1, 90), max_size=3)), max_size=12)


def store_of(docs, sources=None, source_weights=(("fake", 1.0),)) -> FakeStore:
    """docs: a list of sentence lengths for each document."""
    ids = iter(range(sum(map(sum, docs))))
    texts = [[[next(ids) for _ in range(n)] for n in doc] for doc in docs]
    words = [[i % 3 != 1 for i in range(sum(doc))] for doc in docs]
    return FakeStore.from_documents(texts, word_starts=words, sources=sources, source_weights=source_weights)


def random_store(seed: int, num_docs: int, most_sentences: int = 30, most_tokens: int = 25) -> FakeStore:
    rng = np.random.default_rng(seed)
    return store_of(
        [rng.integers(1, most_tokens, rng.integers(2, most_sentences)).tolist() for _ in range(num_docs)]
    )


def check_parts(store: FakeStore, row) -> None:
    """Every part is the slice of the store that it claims to be."""
    for part in row.parts:
        if part.doc == -1:
            assert part.start == -1 and not len(part.tokens) and not len(part.word_starts)
            continue
        begin = int(store.doc_offsets[part.doc]) + max(part.start, 0)
        assert part.tokens.tolist() == list(range(begin, begin + len(part.tokens)))
        assert begin + len(part.tokens) <= store.doc_offsets[part.doc + 1]
        assert part.word_starts.tolist() == store.word_starts(begin, begin + len(part.tokens)).tolist()
        assert part.tokens.dtype == np.int32 and part.word_starts.dtype == np.bool_


def summary(row) -> tuple:
    """A row as something that compares."""
    return (
        row.id,
        row.label,
        tuple((p.doc, p.start, p.tokens.tobytes(), p.word_starts.tobytes()) for p in row.parts),
    )
