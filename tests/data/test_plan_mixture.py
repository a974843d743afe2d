# SPDX-License-Identifier: Apache-2.0
"""Weighted sources: exact counts, epochs of their own, nothing across sources."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.data.plan_chunks import Chunks
from ssl_jax.data.plan_mixture import MIX_BLOCK, MixUnit
from ssl_jax.data.plan_packed import Packed
from ssl_jax.data.plan_pairs import Pairs
from ssl_jax.types import UserError
from tests.data.plan_stores import check_parts, store_of, summary

PLANS = [Pairs(length=24), Packed(length=24), Chunks(length=24)]


def mixed_store(weights, seed=0, docs=30):
    """Documents of all sources in no order; source k has documents about k + 1 times as long."""
    rng = np.random.default_rng(seed)
    sources = rng.permutation(np.arange(docs) % len(weights))
    lengths = [rng.integers(1, 6, rng.integers(2, 5) * (int(s) + 1)).tolist() for s in sources]
    return store_of(lengths, sources, tuple((f"s{k}", w) for k, w in enumerate(weights)))


def source_of(store, row) -> int:
    kinds = {int(store.doc_sources[p.doc]) for p in row.parts if p.doc >= 0}
    assert len(kinds) <= 1, "a row holds documents of two sources"
    return kinds.pop() if kinds else -1


def largest_remainder(weights, seats):
    exact = [w / sum(weights) * seats for w in weights]
    counts = [int(e) for e in exact]
    order = sorted(range(len(weights)), key=lambda k: (counts[k] - exact[k], k))
    for k in order[: seats - sum(counts)]:
        counts[k] += 1
    return counts


@settings(max_examples=9)
@given(st.sampled_from(PLANS), st.lists(st.integers(1, 50), min_size=2, max_size=4), st.integers(0, 2**28))
def test_every_block_has_the_exact_counts(plan, weights, block):
    store = mixed_store(weights, docs=200)
    mixed = plan.open(store, 9)
    counts = Counter()
    for r in range(block * MIX_BLOCK, (block + 1) * MIX_BLOCK):
        row = mixed[r]
        assert row.id == r
        counts[source_of(store, row)] += 1
    lone = counts.pop(-1, 0)  # chunks: a row of nothing but the closing BOS can't happen
    assert not lone
    assert [counts[k] for k in range(len(weights))] == largest_remainder(weights, MIX_BLOCK)


@pytest.mark.parametrize("plan", PLANS)
def test_each_source_runs_through_epochs_of_its_own(plan):
    store = mixed_store([3, 1], docs=150)
    mixed = plan.open(store, 9)
    blocks = 2
    rows = [mixed[r] for r in range(blocks * MIX_BLOCK)]
    for k, part in enumerate(mixed.parts):
        own = [r for r in rows if source_of(store, r) == k]
        alone = [part[i] for i in range(len(own))]
        # A block's rows of a source are consecutive rows of the source, in another order.
        each = len(own) // blocks
        for b in range(blocks):
            got = sorted(summary(r)[1:] for r in own[b * each : (b + 1) * each])
            assert got == sorted(summary(r)[1:] for r in alone[b * each : (b + 1) * each])
        assert len(own) > part.num_rows  # it repeats
    for row in rows[:200]:
        check_parts(store, row)


def test_order_inside_blocks_differs():
    store = mixed_store([1, 1])
    mixed = PLANS[1].open(store, 9)
    orders = [[source_of(store, mixed[b * MIX_BLOCK + i]) for i in range(64)] for b in range(4)]
    assert len({tuple(o) for o in orders}) == 4
    assert all(20 < sum(o) < 44 for o in orders)


def test_weights_in_tokens():
    store = mixed_store([1, 1, 1], docs=90)
    mixed = Pairs(length=64, mix_by=MixUnit.TOKENS).open(store, 1)
    tokens = np.zeros(3)
    for r in range(8 * MIX_BLOCK):
        row = mixed[r]
        if not row.label:
            tokens[source_of(store, row)] += sum(len(p.tokens) for p in row.parts) + 3
    shares = tokens / tokens.sum()
    assert np.abs(shares - 1 / 3).max() < 0.02
    by_rows = Pairs(length=64).open(store, 1)
    assert mixed.fingerprint != by_rows.fingerprint
    assert "weights in tokens" in mixed.report() and "weights in rows" in by_rows.report()


def test_report_gives_the_deviation():
    text = Packed(length=24).open(mixed_store([2, 1]), 0).report()
    assert "s0: weight 0.6667, rows 0.6670" in text and "deviation +0.00033" in text
    assert "s1: weight 0.3333, rows 0.3330" in text and "deviation -0.00033" in text


@pytest.mark.parametrize("plan", PLANS)
def test_evaluation_reads_each_row_of_each_source_once(plan):
    store = mixed_store([1, 5, 2])
    held = plan.open(store, 9, shuffle=False)
    rows = [held[r] for r in range(held.num_rows)]
    assert [r.id for r in rows] == list(range(held.num_rows))
    assert [source_of(store, r) for r in rows] == sorted(source_of(store, r) for r in rows)
    parts = [p[i] for p in held.parts for i in range(p.num_rows)]
    assert [summary(r)[1:] for r in rows] == [summary(r)[1:] for r in parts]
    if not isinstance(plan, Pairs):
        # A row of chunks repeats the last token of the one before.
        skip = lambda p: int(isinstance(plan, Chunks) and p.start != -1)
        seen = np.concatenate([p.tokens[skip(p) :] for r in rows for p in r.parts])
        assert sorted(seen) == list(range(store.num_tokens))


def test_evaluation_passes_over_a_source_without_held_out_documents():
    store = store_of([[4, 4]] * 3, [0, 2, 2], (("a", 1.0), ("b", 1.0), ("c", 1.0)))
    assert Packed(length=16).open(store, 0, shuffle=False).num_rows == 3
    with pytest.raises(UserError, match="source b: no document"):
        Packed(length=16).open(store, 0)


def test_a_weight_too_small_for_a_row_is_an_error():
    with pytest.raises(UserError, match=r"source s1.*no row in 1,024"):
        Packed(length=24).open(mixed_store([1, 1e-5]), 0)
