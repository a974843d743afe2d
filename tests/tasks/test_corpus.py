# SPDX-License-Identifier: Apache-2.0
"""A share of the training examples: nested, near its size, the same everywhere."""

import itertools

import pytest

from ssl_jax.data import Record
from ssl_jax.tasks.corpus import share
from ssl_jax.types import UserError

RECORDS = [Record((f"text {i % 700}",), i) for i in range(2000)]  # some texts are there three times


def test_a_larger_share_holds_the_smaller_one():
    shares = [{r.label for r in share(RECORDS, part)} for part in (0.01, 0.1, 0.5, 1.0)]
    assert all(small < large for small, large in itertools.pairwise(shares))
    assert [len(s) for s in shares] == [pytest.approx(2000 * p, rel=0.4) for p in (0.01, 0.1, 0.5, 1.0)]


def test_an_order_is_kept():
    numbers = [r.label for r in share(RECORDS, 0.3)]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("part", [0.0, -0.1, 1.5])
def test_a_share_is_above_0_and_at_most_1(part):
    with pytest.raises(UserError, match="train_share"):
        share(RECORDS, part)


def test_a_share_of_nothing_is_a_mistake():
    with pytest.raises(UserError, match="leaves none of 1"):
        share(RECORDS[:1], 1e-9)
