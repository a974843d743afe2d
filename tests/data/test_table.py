# SPDX-License-Identifier: Apache-2.0
"""Labelled examples in memory: one a row, cut to fit, in an order of their own each epoch."""

import numpy as np
import pytest

from ssl_jax.data import Labelled, Record, Table
from ssl_jax.data.table import kept
from ssl_jax.text import Text, WordPiece, load


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer") / "wordpiece"
    WordPiece(vocab_size=60).train(
        ["a few short words to begin with, and then some more of them"] * 3, folder
    )
    return load(folder)


def table(tokenizer, count: int = 10, label=str) -> Table:
    return Table(
        [Record((f"a few words {'more ' * i}", "to begin"), label(i)) for i in range(count)],
        tokenizer,
        Text(),
    )


def test_without_shuffling_rows_are_the_records_in_order(tokenizer):
    some = table(tokenizer)
    plan = Labelled(length=16).open(some, 0, shuffle=False)
    assert plan.num_rows == 10 and [plan[r].label for r in range(20)] == 2 * [str(i) for i in range(10)]
    for r in range(10):
        whole = [e.tokens for e in some.encoded(r)]
        assert all(np.array_equal(p.tokens, w[: len(p.tokens)]) for p, w in zip(plan[r].parts, whole))
        assert sum(len(p.tokens) for p in plan[r].parts) == min(16 - 3, sum(map(len, whole)))


def test_shuffled_every_epoch_has_every_record_once_in_another_order(tokenizer):
    plan = Labelled(length=16).open(table(tokenizer), 7)
    epochs = [[plan[e * 10 + r].label for r in range(10)] for e in range(3)]
    assert all(sorted(epoch) == [str(i) for i in range(10)] for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    again = Labelled(length=16).open(table(tokenizer), 7)
    assert [again[20 + r].label for r in range(10)] == epochs[2]


def test_the_fingerprint_knows_labels_texts_and_fields(tokenizer):
    prints = {
        table(tokenizer).fingerprint,
        table(tokenizer, label=int).fingerprint,
        table(tokenizer, 9).fingerprint,
    }
    assert len(prints) == 3 and table(tokenizer).fingerprint in prints


def test_pairs_are_cut_as_bert_cuts_them():
    """Against its own loop: while too long, the longer one loses its last token, the second of equals."""
    rng = np.random.default_rng(0)
    for a, b, room in rng.integers(0, 30, (500, 3)):
        one, two = int(a), int(b)
        while one + two > room:
            one, two = (one - 1, two) if one > two else (one, two - 1)
        assert kept([int(a), int(b)], int(room)) == [one, two]
