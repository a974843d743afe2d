# SPDX-License-Identifier: Apache-2.0
"""A share of the training examples: nested, near its size, the same everywhere."""

import itertools
from dataclasses import dataclass
from types import MappingProxyType

import pytest

from ssl_jax.data import Record
from ssl_jax.tasks.base import TUNING
from ssl_jax.tasks.columns import Columns
from ssl_jax.tasks.corpus import open_task, share
from ssl_jax.text import SentencePiece, Text
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


@dataclass(frozen=True, kw_only=True)
class Tuned(Columns):
    """Tunes on 1,000 records of its own, and is measured on as many."""

    evaluations = MappingProxyType({"heldout": "dev", TUNING: TUNING})

    def read(self, split):
        return [Record((f"{split} {i}",), "ab"[i % 2]) for i in range(1000)]

    def labels(self, train):
        return ("a", "b")


def test_a_share_holds_for_what_is_tuned_on_too():
    """At 10 % of the labels a threshold that is tuned on all of them knows too much."""
    text = Text(tokenizer=SentencePiece(vocab_size=300))
    data = open_task(Tuned(train_share=0.1), text, lambda *_, **__: None)
    sizes = {name: table.num_documents for name, table in data.evaluations.items()}
    assert sizes == {"heldout": 1000, "tuning": pytest.approx(100, rel=0.4)}
    assert data.train.num_documents == pytest.approx(100, rel=0.4)
