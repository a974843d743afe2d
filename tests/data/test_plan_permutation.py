# SPDX-License-Identifier: Apache-2.0
"""Counter-based randomness: bijections, uniformity, streams that never change."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_jax.data.plan_permutation import below, bits, derive, mix, permute, uniform


def splitmix64(state: int) -> int:
    """The reference generator of Steele, Lea and Flood, one output after the state advanced."""
    z = (state + 0x9E3779B97F4A7C15) % 2**64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)


def keys_of(many: int, each: int) -> np.ndarray:
    return np.repeat(np.array([derive(7, "rows", e) for e in range(many)], np.uint64), each)


def chi_square(counts: np.ndarray) -> float:
    """(statistic - degrees of freedom) in standard deviations, under equal expectations."""
    expected, freedom = counts.sum() / counts.size, counts.size - 1
    return float((np.sum((counts - expected) ** 2 / expected) - freedom) / np.sqrt(2 * freedom))


def test_bits_are_splitmix64():
    counter = np.arange(100)
    key = derive(5, "x")
    expected = [splitmix64((key + (c - 1) * 0x9E3779B97F4A7C15) % 2**64) for c in range(100)]
    assert bits(key, counter).tolist() == expected
    assert mix(np.array([2**64 - 1, 0, 1], np.uint64)).dtype == np.uint64


def test_streams_are_fixed_for_ever():
    """A change here changes every run's data: plan_base.FORMAT must then change too."""
    assert derive(1, "rows", 3) == 0x41F493D91189D69A
    assert permute(np.arange(10), 10, derive(1, "rows", 3)).tolist() == [0, 3, 7, 1, 9, 5, 2, 8, 4, 6]
    large = permute(np.array([0, 1, 2**40 - 1]), 2**40, 3)
    assert large.tolist() == [482265596480, 855842733789, 924507982628]


@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
def test_permutation_is_a_bijection(n, key):
    image = permute(np.arange(n), n, key)
    assert image.dtype == np.int64
    assert sorted(image.tolist()) == list(range(n))


@given(st.integers(1, 2**62), st.integers(0, 2**64 - 1), st.data())
def test_permutation_of_large_domains_is_injective_and_inside(n, key, data):
    index = np.unique(np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=50))))
    image = permute(index, n, key)
    assert image.min() >= 0 and image.max() < n
    assert len(np.unique(image)) == len(index)


@given(st.integers(1, 500), st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5))
def test_a_key_an_element_equals_one_key_at_a_time(n, keys):
    together = permute(np.tile(np.arange(n), len(keys)), n, np.repeat(np.array(keys, np.uint64), n))
    apart = [permute(np.arange(n), n, key) for key in keys]
    np.testing.assert_array_equal(together.reshape(len(keys), n), apart)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_every_permutation_of_few_is_equally_likely(n):
    many = 20_000
    image = permute(np.tile(np.arange(n), many), n, keys_of(many, n)).reshape(many, n)
    code = image @ (n ** np.arange(n))
    wanted = [int(np.dot(p, n ** np.arange(n))) for p in itertools.permutations(range(n))]
    assert abs(chi_square(np.array([np.sum(code == w) for w in wanted]))) < 4


@pytest.mark.parametrize("n", [64, 1000, 1025, 100_003])
def test_positions_and_pairs_of_many_are_uniform(n):
    many = 8000
    index = np.tile([0, 1, n // 2, n - 1], many)
    image = permute(index, n, keys_of(many, 4)).reshape(many, 4)
    for column in image.T:
        assert abs(chi_square(np.bincount(column * 16 // n, minlength=16))) < 5
    for a, b in itertools.combinations(image.T, 2):  # where two elements go, jointly
        both = (a * 8 // n) * 8 + b * 8 // n
        assert abs(chi_square(np.bincount(both, minlength=64))) < 6


def test_neighbours_of_one_permutation_are_far_apart_at_random():
    n = 50_000
    image = permute(np.arange(n), n, derive(3, "rows", 0))
    assert abs(np.corrcoef(image[:-1], image[1:])[0, 1]) < 0.02
    assert abs(np.mean(np.diff(image) > 0) - 0.5) < 0.01
    assert np.sum(image == np.arange(n)) < 10


@given(st.integers(0, 2**64 - 1), st.integers(1, 2**52), st.lists(st.integers(0, 2**40), min_size=1))
def test_below_stays_below(key, n, counters):
    draws = below(key, np.array(counters), n)
    assert draws.min() >= 0 and draws.max() < n


def test_below_is_uniform():
    counts = np.bincount(below(derive(1), np.arange(70_000), 7), minlength=7)
    assert abs(chi_square(counts)) < 4
    assert uniform(3, np.arange(10)).min() >= 0 and uniform(3, np.arange(10)).max() < 1


def test_derived_keys_differ():
    words = [(0,), (1,), (0, 0), (0, 1), (1, 0), ("a",), ("b",), ("a", 0), (0, "a"), ("ab",), ("ba",)]
    words += [(2**64,), (2**65,)]
    assert len({derive(*w) for w in words}) == len(words)
