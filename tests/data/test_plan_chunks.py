# SPDX-License-Identifier: Apache-2.0
"""Concatenate and chunk: the stream rebuilt from its rows, each target exactly once."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_jax.data.plan_chunks import Chunks
from ssl_jax.types import UserError
from tests.data.plan_stores import check_parts, documents, random_store, store_of

BOS = -7


def stream_of(row) -> list[int]:
    """What an objective makes of a row: BOS wherever a part starts at -1."""
    out = []
    for part in row.parts:
        out += ([BOS] if part.start == -1 else []) + part.tokens.tolist()
    return out


@given(documents, st.integers(1, 40), st.integers(0, 3), st.booleans())
def test_every_token_is_a_target_once_an_epoch(docs, length, epoch, shuffle):
    store = store_of(docs)
    if not store.num_tokens:
        with pytest.raises(UserError, match="no document holds a token"):
            Chunks(length=length).open(store, 3)
        return
    plan = Chunks(length=length).open(store, 3, shuffle)
    n = plan.num_rows
    rows = [plan[r] for r in range(epoch * n, (epoch + 1) * n)]
    streams = [stream_of(row) for row in rows]
    for row, stream in zip(rows, streams):
        check_parts(store, row)
        assert 2 <= len(stream) <= length + 1
        assert all(p.start == -1 for p in row.parts[1:])
    assert sum(len(s) <= length for s in streams) <= 1  # the last of the stream alone is short
    targets = [t for s in streams for t in s[1:]]
    assert len(targets) == plan.num_tokens
    full = [d for d in range(store.num_documents) if store.doc_offsets[d] < store.doc_offsets[d + 1]]
    assert sorted(targets) == [BOS] * len(full) + list(range(store.num_tokens))
    # Put in order by their overlaps, rows are one stream of whole documents behind a BOS each.
    if not shuffle:
        joined = [streams[0][0]] + [t for s in streams for t in s[1:]]
        expected = [t for d in full for t in (BOS, *range(store.doc_offsets[d], store.doc_offsets[d + 1]))]
        assert joined == [*expected, BOS]


def test_a_token_is_predicted_from_the_one_before_it():
    store = random_store(1, 30)
    plan = Chunks(length=16).open(store, 5)
    starts = set(store.doc_offsets[:-1].tolist())
    for r in range(2 * plan.num_rows):
        stream = stream_of(plan[r])
        for before, target in itertools.pairwise(stream):
            if target == BOS:
                assert before + 1 in starts | {store.num_tokens}
            elif before == BOS:
                assert target in starts
            else:
                assert target == before + 1


def test_documents_and_rows_are_permuted_anew_each_epoch():
    store = random_store(2, 50)
    plan = Chunks(length=32).open(store, 5)

    def follows(epoch):  # which document comes after which
        rows = [plan[r] for r in range(epoch * plan.num_rows, (epoch + 1) * plan.num_rows)]
        return {(a.doc, b.doc) for row in rows for a, b in itertools.pairwise(row.parts)}

    assert len(follows(0) & follows(1)) < 0.3 * len(follows(0))
    assert follows(0) == follows(0)
    other = Chunks(length=32).open(store, 6)
    orders = [[p.doc for r in range(3) for p in opened[r].parts] for opened in (plan, other)]
    assert orders[0] != orders[1]
    assert other.fingerprint != plan.fingerprint


def test_the_closing_bos_belongs_to_no_document():
    plan = Chunks(length=3).open(store_of([[2], [2]]), 0, shuffle=False)
    parts = [[(p.doc, p.start, p.tokens.tolist()) for p in plan[r].parts] for r in range(plan.num_rows)]
    assert parts == [[(0, -1, [0, 1]), (1, -1, [])], [(1, -1, [2, 3]), (-1, -1, [])]]
    assert plan.num_tokens == 6
    assert np.all(plan[0].parts[1].word_starts == [])
