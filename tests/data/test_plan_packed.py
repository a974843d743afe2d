# SPDX-License-Identifier: Apache-2.0
"""Packing: every token exactly once an epoch, rows never overfull, as tight as best-fit decreasing."""

import bisect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_jax.data.plan_packed import Packed, best_fit
from ssl_jax.types import UserError
from tests.data.plan_stores import check_parts, documents, random_store, store_of, summary


def best_fit_decreasing(sizes: list[int], capacity: int) -> list[list[int]]:
    """One item at a time, into the row whose free space is the least that fits."""
    rows: list[list[int]] = []
    spaces: list[tuple[int, int]] = []
    for size in sorted(sizes, reverse=True):
        at = bisect.bisect_left(spaces, (size, -1))
        if at == len(spaces):
            rows.append([])
            space, row = capacity, len(rows) - 1
        else:
            space, row = spaces.pop(at)
        rows[row].append(size)
        bisect.insort(spaces, (space - size, row))
    return rows


@given(st.lists(st.integers(1, 24), max_size=300), st.integers(24, 40))
def test_histogram_packing_is_best_fit_decreasing(sizes, capacity):
    packed = best_fit(np.bincount(sizes, minlength=25).tolist() if sizes else [], capacity)
    rows = [
        [size for size, many in recipe for _ in range(many)] for recipe, times in packed for _ in range(times)
    ]
    # Which of two equally full rows takes an item is nobody's business; how full they all become is fixed.
    assert sorted(map(sum, rows)) == sorted(map(sum, best_fit_decreasing(sizes, capacity)))
    assert sorted(s for row in rows for s in row) == sorted(sizes)


@given(documents, st.integers(3, 40), st.integers(0, 2), st.integers(0, 5), st.booleans())
def test_every_token_once_an_epoch(docs, length, overhead, epoch, shuffle):
    store = store_of(docs)
    if not store.num_tokens:
        with pytest.raises(UserError, match="no document holds a token"):
            Packed(length=length, overhead=overhead).open(store, 3)
        return
    plan = Packed(length=length, overhead=overhead).open(store, 3, shuffle)
    rows = [plan[r] for r in range(epoch * plan.num_rows, (epoch + 1) * plan.num_rows)]
    seen = np.concatenate([part.tokens for row in rows for part in row.parts])
    assert sorted(seen.tolist()) == list(range(store.num_tokens))
    filled = 0
    for r, row in enumerate(rows, epoch * plan.num_rows):
        assert row.id == r and row.label is None and row.parts
        assert all(len(part.tokens) for part in row.parts)
        check_parts(store, row)
        used = sum(len(part.tokens) + overhead for part in row.parts)
        assert used <= length
        filled += used
    assert filled == plan.num_tokens
    for doc in range(store.num_documents):  # only what is too long is cut, and then into whole rooms
        cuts = sorted((p.start, len(p.tokens)) for row in rows for p in row.parts if p.doc == doc)
        room, size = length - overhead, int(store.doc_offsets[doc + 1] - store.doc_offsets[doc])
        assert cuts == [(s, min(room, size - s)) for s in range(0, size, room)]


def test_epochs_hold_the_same_rows_in_other_orders():
    plan = Packed(length=64).open(random_store(0, 200), 1)
    n = plan.num_rows
    first, second = ([summary(plan[r])[2] for r in range(e * n, (e + 1) * n)] for e in (0, 1))
    assert first != second and sorted(first) == sorted(second)
    assert [summary(plan[r])[2] for r in range(n)] == first


def test_fill_of_documents_shorter_than_a_row():
    rng = np.random.default_rng(0)
    store = store_of([[int(n)] for n in rng.integers(5, 120, 3000)])
    plan = Packed(length=256).open(store, 0)
    assert plan.num_tokens / (plan.num_rows * 256) > 0.99
    assert "3,000 documents packed into" in plan.report() and "99" in plan.report()


def test_length_without_room_is_an_error():
    with pytest.raises(UserError, match="too short"):
        Packed(length=2).open(random_store(0, 3), 0)
