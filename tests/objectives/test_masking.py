# SPDX-License-Identifier: Apache-2.0
"""Masking: exact counts, no specials, shares, whole words, spans."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.objectives import Masking, MaskUnit
from ssl_jax.objectives.masking import drawable
from ssl_jax.types import UserError
from tests.objectives.fakes import CLS, CONTROL, MASK, PAD, SEP, UNK, meta

VOCAB = 60
TABLES = drawable(meta(VOCAB))
SPECIAL = np.array([PAD, UNK, CLS, SEP, MASK, CONTROL])


def make_row(seed: int, length: int, used: int, share_of_starts: float, specials: float = 0.05):
    """[CLS] text [SEP] padding, with specials and control pieces strewn in; each of them is its own word."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(7, VOCAB, length).astype(np.int32)
    word_starts = rng.random(length) < share_of_starts
    odd = rng.random(length) < specials
    tokens[odd] = rng.choice([UNK, SEP, CONTROL], odd.sum())
    tokens[0], tokens[used - 1], tokens[used:] = CLS, SEP, PAD
    odd |= np.isin(tokens, SPECIAL)
    word_starts |= odd
    word_starts[1:] |= odd[:-1]
    return tokens, word_starts


def words_of(word_starts):
    begin = np.flatnonzero(word_starts)
    return [range(a, b) for a, b in zip(begin, [*begin[1:], len(word_starts)])]


rows = st.tuples(
    st.integers(0, 2**32),
    st.integers(8, 200).flatmap(lambda t: st.tuples(st.just(t), st.integers(2, t))),
    st.floats(0.05, 1.0),
)
rates = st.floats(0.01, 1.0)


@settings(max_examples=150, deadline=None)
@given(rows, rates, st.sampled_from(MaskUnit), st.floats(0, 1))
def test_every_row_keeps_the_rules(row, rate, unit, mask):
    seed, (length, used), share = row
    tokens, word_starts = make_row(seed, length, used, share)
    masking = Masking(rate=rate, unit=unit, mask=mask, random=(1 - mask) / 2)
    out = masking.apply(tokens, word_starts, TABLES, np.random.default_rng(seed))
    n = int(out.weights.sum())
    where = out.where[:n]

    assert len(out.where) == len(out.targets) == len(out.weights) == masking.slots(length)
    assert set(out.weights.tolist()) <= {0.0, 1.0}
    assert not out.weights[n:].any() and not out.where[n:].any() and not out.targets[n:].any()
    assert (np.diff(where) > 0).all(), "without replacement, in order"
    assert np.array_equal(out.targets[:n], tokens[where])
    assert not np.isin(out.targets[:n], SPECIAL).any(), "specials are never hidden"
    untouched = np.delete(np.arange(length), where)
    assert np.array_equal(out.tokens[untouched], tokens[untouched])
    drawn = out.tokens[where]
    assert not np.isin(drawn, np.delete(SPECIAL, 4)).any() and (drawn < VOCAB).all()

    maskable = ~np.isin(tokens, SPECIAL)
    count = lambda num: min(num, max(1, math.floor(rate * num + 0.5)))
    if unit is MaskUnit.WORD:
        whole = [w for w in words_of(word_starts) if maskable[list(w)].all()]
        budget = count(sum(map(len, whole)))
        hidden = [w for w in whole if set(w) & set(where.tolist())]
        assert sorted(i for w in hidden for i in w) == where.tolist(), "words are never split"
        rest = [len(w) for w in whole if w not in hidden]
        if n <= budget:
            assert all(size > budget - n for size in rest), "what would still fit is taken"
        else:
            assert len(hidden) == 1 and min(map(len, whole)) > budget
        if whole and min(map(len, whole)) <= len(out.where):
            assert n > 0
    else:
        assert n == count(int(maskable.sum()))


@pytest.mark.parametrize("unit", MaskUnit)
def test_same_row_and_generator_give_the_same_masks(unit):
    tokens, word_starts = make_row(3, 64, 60, 0.6)
    kept = tokens.copy()
    once, again, other = (
        Masking(unit=unit).apply(
            tokens, word_starts, TABLES, np.random.Generator(np.random.Philox(key=[7, r]))
        )
        for r in (5, 5, 6)
    )
    assert all(np.array_equal(a, b) for a, b in zip(once, again))
    assert not np.array_equal(once.where, other.where)
    assert np.array_equal(tokens, kept), "the plan's own tokens stay as they are"


@pytest.mark.parametrize("unit", MaskUnit)
def test_shares_of_mask_random_kept(unit):
    """Within 5 standard deviations over many rows; a draw may hit the token itself, which reads as kept."""
    masking = Masking(unit=unit, mask=0.7, random=0.2)
    tokens, word_starts = make_row(1, 128, 120, 0.7, specials=0.0)
    fates = np.zeros(3)
    pieces = 0
    for r in range(600):
        out = masking.apply(tokens, word_starts, TABLES, np.random.default_rng(r))
        n = int(out.weights.sum())
        seen, target = out.tokens[out.where[:n]], out.targets[:n]
        fates += [(seen == MASK).sum(), ((seen != MASK) & (seen != target)).sum(), (seen == target).sum()]
        # A span shares one draw: about 5 tokens, so count spans (at least) for the deviation.
        pieces += n if unit is not MaskUnit.SPAN else n / 10
    hit = 1 / len(TABLES.ids)
    expected = np.array([0.7, 0.2 * (1 - hit), 0.1 + 0.2 * hit])
    deviation = np.sqrt(expected * (1 - expected) / pieces)
    assert (np.abs(fates / fates.sum() - expected) < 5 * deviation).all()


def test_positions_and_replacements_are_uniform():
    """Chi-square statistics within 6 standard deviations of their mean."""
    tokens, word_starts = make_row(1, 40, 40, 0.7, specials=0.0)
    masking = Masking(mask=0.0, random=1.0)
    places, drawn = np.zeros(40), np.zeros(VOCAB)
    for r in range(3000):
        out = masking.apply(tokens, word_starts, TABLES, np.random.default_rng(r))
        n = int(out.weights.sum())
        places[out.where[:n]] += 1
        drawn += np.bincount(out.tokens[out.where[:n]], minlength=VOCAB)
    for counts, support in ((places, ~np.isin(tokens, SPECIAL)), (drawn, TABLES.maskable)):
        assert not counts[~support].any()
        counts = counts[support]
        statistic = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
        freedom = len(counts) - 1
        assert abs(statistic - freedom) < 6 * math.sqrt(2 * freedom)


def test_a_span_is_replaced_as_one_and_a_word_token_by_token():
    tokens, word_starts = make_row(1, 512, 512, 0.7, specials=0.0)
    mixed = dict.fromkeys(MaskUnit, 0)
    for unit in (MaskUnit.WORD, MaskUnit.SPAN):
        masking = Masking(unit=unit, rate=0.05, mask=0.5, random=0.0)
        for r in range(40):
            out = masking.apply(tokens, word_starts, TABLES, np.random.default_rng(r))
            hidden = np.zeros(512, bool)
            hidden[out.where[out.weights > 0]] = True
            for word in map(list, words_of(word_starts)):
                seen = (out.tokens[word] == MASK)[hidden[word]]
                mixed[unit] += len(seen) > 1 and 0 < seen.sum() < len(seen)
    assert mixed[MaskUnit.SPAN] == 0 < mixed[MaskUnit.WORD]


def test_span_lengths_are_geometric():
    """SpanBERT, section 3.1: p = 0.2, at most 10, mean 3.8 words.  Few spans in a long row, so none meet."""
    length = 4000
    tokens = np.full(length, 7, np.int32)
    tokens[[0, -1]] = CLS, SEP
    masking = Masking(rate=0.02, unit=MaskUnit.SPAN, mask=1.0, random=0.0)
    lengths = []
    for r in range(150):
        out = masking.apply(tokens, np.ones(length, bool), TABLES, np.random.default_rng(r))
        where = out.where[out.weights > 0]
        lengths += [len(run) for run in np.split(where, np.flatnonzero(np.diff(where) > 1) + 1)]
    share = 0.2 * 0.8 ** np.arange(10)
    mean = (share / share.sum()) @ np.arange(1, 11)
    assert abs(mean - 3.8) < 0.01
    # The last span of a row is cut (about one in 21), and neighbours merge now and then.
    assert abs(np.mean(lengths) - mean) < 0.2
    assert np.mean(np.array(lengths) == 1) == pytest.approx(share[0] / share.sum(), abs=0.03)


def test_spans_stay_inside_their_text():
    """One long span in each row: it never runs over a [SEP]."""
    tokens = np.full(60, 7, np.int32)
    tokens[[0, 19, 39, 59]] = CLS, SEP, SEP, SEP
    masking = Masking(rate=0.3, unit=MaskUnit.SPAN, span_p=1e-6, max_span=1000)
    for r in range(50):
        out = masking.apply(tokens, np.ones(60, bool), TABLES, np.random.default_rng(r))
        assert int(out.weights.sum()) == round(0.3 * 56)
        assert not np.isin(out.targets[out.weights > 0], SPECIAL).any()


def test_slots_are_berts_own():
    assert Masking().slots(128) == 20 and Masking().slots(512) == 80
    assert Masking(rate=0.2).slots(100) == 20, "0.2 * 100 is 20, not 20.000000000000004"
    assert all(
        Masking(rate=r).count(t) <= Masking(rate=r).slots(t) for r in (0.01, 0.15, 1.0) for t in range(8, 300)
    )


def test_no_room_for_any_word_hides_nothing():
    tokens = np.full(64, 7, np.int32)
    tokens[0] = CLS
    word_starts = np.zeros(64, bool)
    word_starts[:2] = True
    out = Masking(unit=MaskUnit.WORD).apply(tokens, word_starts, TABLES, np.random.default_rng(0))
    assert not out.weights.any() and np.array_equal(out.tokens, tokens)


@pytest.mark.parametrize(
    "wrong",
    [{"rate": 0.0}, {"rate": 1.5}, {"mask": 0.95}, {"random": -0.1}, {"span_p": 1.0}, {"max_span": 0}],
)
def test_wrong_rates_are_the_users_mistake(wrong):
    with pytest.raises(UserError, match=r"masking\."):
        dataclasses.replace(Masking(), **wrong)
