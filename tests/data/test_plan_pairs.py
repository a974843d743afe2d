# SPDX-License-Identifier: Apache-2.0
"""Sentence pairs: spans, labels, negatives, truncation, and what is refused."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.data.plan_base import Documents
from ssl_jax.data.plan_pairs import LABEL_BLOCK, Pairs, cut, nearest, num_spans, truncated
from ssl_jax.types import UserError
from tests.data.plan_stores import check_parts, random_store, store_of

sentence_lengths = st.lists(st.one_of(st.integers(1, 9), st.integers(1, 60)), min_size=2, max_size=25)
corpora = st.lists(sentence_lengths, min_size=2, max_size=8)


def truncate_seq_pair(a: int, b: int, room: int) -> tuple[int, int]:
    """BERT's create_pretraining_data.py, on lengths."""
    while a + b > room:
        if a > b:
            a -= 1
        else:
            b -= 1
    return a, b


@given(st.integers(1, 80), st.integers(1, 80), st.integers(2, 90))
def test_truncation_leaves_what_berts_loop_leaves(a, b, room):
    kept = truncated(np.array([a]), np.array([b]), np.array([room]))
    assert tuple(int(k[0]) for k in kept) == truncate_seq_pair(a, b, room)


@given(corpora, st.integers(2, 60), st.floats(-0.5, 0.5))
def test_spans_tile_their_documents_with_two_sentences_or_more(docs, room, offset):
    store = store_of(docs)
    documents = Documents.of(store)
    spans = num_spans(documents, room)
    ends = np.concatenate([[0], np.cumsum(spans)])
    cuts = cut(documents, ends, store.sentence_offsets, offset)
    for d, doc in enumerate(docs):
        assert 1 <= spans[d] <= max(len(doc) // 2, 1)
        assert spans[d] == min(-(-sum(doc) // room), len(doc) // 2)
        own = cuts[ends[d] : ends[d + 1]].tolist()
        assert own[0] == store.doc_sentences[d]
        assert np.all(np.diff([*own, int(store.doc_sentences[d + 1])]) >= 2)


@given(corpora, st.integers(2, 60), st.floats(-0.5, 0.5), st.integers(1, 7))
def test_cutting_piece_by_piece_changes_nothing(docs, room, offset, piece):
    store = store_of(docs)
    documents = Documents.of(store)
    ends = np.concatenate([[0], np.cumsum(num_spans(documents, room))])
    whole = cut(documents, ends, store.sentence_offsets, offset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssl_jax.data.plan_pairs.CHUNK", piece)
        np.testing.assert_array_equal(cut(documents, ends, store.sentence_offsets, offset), whole)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=20),
    st.lists(st.integers(0, 200), min_size=1, max_size=9),
)
def test_nearest_boundary(steps, places):
    offsets = np.concatenate([[0], np.cumsum(steps)])
    expected = [min(range(len(offsets)), key=lambda i: (abs(int(offsets[i]) - at), i)) for at in places]
    assert nearest(offsets, np.array(places)).tolist() == expected


@given(corpora, st.integers(5, 60), st.integers(0, 2**40), st.sampled_from([0.0, 0.5]), st.booleans())
def test_any_row_of_any_corpus(docs, length, start, short, shuffle):
    store = store_of(docs)
    plan = Pairs(length=length, short_seq_prob=short).open(store, 11, shuffle)
    for r in range(start, start + 40):
        row = plan[r]
        a, b = row.parts
        assert row.id == r and row.label in (0, 1)
        check_parts(store, row)
        assert len(a.tokens) >= 1 and len(b.tokens) >= 1
        assert len(a.tokens) + len(b.tokens) <= length - 3
        if row.label:
            assert a.doc != b.doc
        else:
            assert a.doc == b.doc and a.start + len(a.tokens) <= b.start


@given(st.integers(0, 2**30), st.integers(0, 2**34))
def test_half_of_every_block_is_random(seed, block):
    plan = Pairs(length=64).open(random_store(0, 12), seed)
    labels = [plan[r].label for r in range(block * LABEL_BLOCK, (block + 1) * LABEL_BLOCK)]
    assert sum(labels) == LABEL_BLOCK // 2


def test_labels_have_no_order():
    plan = Pairs(length=64).open(random_store(0, 40), 1)
    labels = np.array([plan[r].label for r in range(64 * 300)]).reshape(300, 64)
    assert np.abs(labels.mean(0) - 0.5).max() < 0.15  # no place in the block gives it away
    assert len({row.tobytes() for row in labels}) == 300
    assert abs(np.mean(labels[:, 1:] == labels[:, :-1]) - 31 / 63) < 0.02


def test_an_epoch_covers_each_span_once_and_epochs_move_the_cuts():
    store = random_store(3, 60, most_sentences=60)
    plan = Pairs(length=10_000).open(store, 2)  # no truncation, one span a document
    firsts = Counter(plan[r].parts[0].doc for r in range(plan.num_rows))
    assert firsts == dict.fromkeys(range(60), 1)

    plan = Pairs(length=67).open(store, 2)
    n, begins = plan.num_rows, []
    for epoch in range(3):
        rows = [plan[r] for r in range(epoch * n, (epoch + 1) * n)]
        spans = Counter(row.parts[0].doc for row in rows)
        assert spans == Counter({d: int(c) for d, c in enumerate(num_spans(Documents.of(store), 64))})
        begins.append({int(row.parts[0].tokens[0]) for row in rows})
    assert len(begins[0] & begins[1]) < 0.5 * n and len(begins[1] & begins[2]) < 0.5 * n


def test_random_parts_come_evenly_from_all_other_spans():
    store = store_of([[5] * 40, [5] * 80, [5] * 120, [5] * 160])  # 10, 20, 30 and 40 spans of 4 sentences
    plan = Pairs(length=23).open(store, 4)
    assert plan.num_rows == 100
    seen = Counter()
    for r in range(10_000):
        row = plan[r]
        if row.label:
            seen[row.parts[0].doc, row.parts[1].doc] += 1
    for a in range(4):
        total = sum(seen[a, b] for b in range(4))
        for b in range(4):
            expected = 0 if a == b else (b + 1) / (10 - (a + 1))
            assert abs(seen[a, b] / total - expected) < 0.03


def test_length_does_not_tell_the_label():
    store = random_store(5, 400, most_sentences=80, most_tokens=40)
    plan = Pairs(length=128).open(store, 0)
    sizes = {0: [], 1: []}
    for r in range(4096):
        row = plan[r]
        sizes[row.label].append([len(p.tokens) for p in row.parts])
    true, random = (np.array(sizes[k]) for k in (0, 1))
    assert abs(true.sum(1).mean() - random.sum(1).mean()) < 3
    assert abs(true[:, 1].mean() - random[:, 1].mean()) < 3
    # The best threshold on the sum of lengths is hardly better than a coin.
    both = np.sort(np.concatenate([true.sum(1), random.sum(1)]))
    below = [np.searchsorted(np.sort(x.sum(1)), both, "right") / len(x) for x in (true, random)]
    assert np.abs(below[0] - below[1]).max() / 2 < 0.06


def test_short_rows():
    plan = Pairs(length=128, short_seq_prob=0.25).open(random_store(6, 300, 80, 12), 0)
    whole = Pairs(length=128).open(random_store(6, 300, 80, 12), 0)
    sums = np.array([[sum(len(p.tokens) for p in q[r].parts) for r in range(2000)] for q in (plan, whole)])
    assert 0.15 < np.mean(sums[0] < sums[1]) < 0.25  # of rows drawn short, some were shorter anyway
    assert sums[0].min() < 15


def test_report_counts_what_is_lost():
    store = store_of([[10, 10], [10, 10], [30, 30], [7]])
    text = Pairs(length=35).open(store, 0).report()
    assert "3 sentence pairs of 35 from 3 documents" in text
    assert "28.0 % of their tokens are truncated" in text  # 28 of the third document's 60, of 100
    assert "1 documents of one sentence dropped (6.5 % of the tokens)" in text


@pytest.mark.parametrize(
    "docs, message",
    [
        ([[5], [5], [5, 5], [5, 5, 5], [5]], "60.0 % of the documents hold one sentence.*MaskedLm"),
        ([[5, 5, 5]], "documents of two sentences or more: 1; sentence pairs need 2"),
        ([[5, 5, 5], [4]], "documents of two sentences or more: 1"),
        ([[5, 5, 5], []], "documents of two sentences or more: 1"),
        ([], "documents of two sentences or more: 0"),
    ],
)
def test_corpora_without_pairs_are_refused_with_the_reason(docs, message):
    with pytest.raises(UserError, match=message):
        Pairs(length=32).open(store_of(docs), 0)


@settings(max_examples=20)
@given(corpora, st.integers(0, 200), st.integers(0, 3))
def test_a_row_does_not_depend_on_what_was_read_before(docs, r, seed):
    store = store_of(docs)
    one, two = (Pairs(length=20).open(store, seed) for _ in range(2))
    for other in range(r, r + 300, 7):
        one[other]
    assert [p.tokens.tolist() for p in one[r].parts] == [p.tokens.tolist() for p in two[r].parts]
    assert one.fingerprint == two.fingerprint != Pairs(length=20).open(store, seed + 1).fingerprint
