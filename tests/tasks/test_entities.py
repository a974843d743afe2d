# SPDX-License-Identifier: Apache-2.0
"""Entities against seqeval, whose default reading is conlleval's."""

import itertools
import random
import warnings

import numpy as np
import pytest

from ssl_jax.tasks.entities import TAG, entities, f1_precision_recall

BIO = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
BIOES = [*BIO, "E-PER", "S-PER", "E-LOC", "S-LOC"]
ODD = ["B-a-b", "I-a-b", "B-a", "I-a", "E-B-a", "S-O", "B-O", "I-O", "O", "I-é 苹", "B--", "I--"]


def theirs(tags):
    seqeval = pytest.importorskip("seqeval.metrics.sequence_labeling")
    return {(kind, begin, last + 1) for kind, begin, last in seqeval.get_entities(tags)}


def random_sequences(tags, count, seed):
    rng = random.Random(seed)
    return [rng.choices(tags, k=rng.randint(1, 25)) for _ in range(count)]


def test_every_sequence_of_four_tags():
    tags = ["O", "B-X", "I-X", "E-X", "S-X", "I-Y", "E-Y"]
    for length in range(1, 5):
        for sequence in itertools.product(tags, repeat=length):
            assert entities(sequence) == theirs(list(sequence)), sequence


@pytest.mark.parametrize("tags", [BIO, BIOES, ODD], ids=["BIO", "BIOES", "odd"])
def test_a_thousand_random_sequences(tags):
    for sequence in random_sequences(tags, 1000, len(tags)):
        assert all(TAG.fullmatch(tag) for tag in sequence)
        assert entities(sequence) == theirs(sequence), sequence


def test_iob1_is_read_as_it_is_meant():
    """An entity begins with I-; B- only parts it from one of the same type right before it."""
    tags = ["I-PER", "I-PER", "B-PER", "I-LOC", "O", "I-LOC", "B-LOC", "I-LOC"]
    expected = {("PER", 0, 2), ("PER", 2, 3), ("LOC", 3, 4), ("LOC", 5, 6), ("LOC", 6, 8)}
    assert entities(tags) == theirs(tags) == expected


@pytest.mark.parametrize("wrong", [0.0, 0.1, 0.5, 1.0])
def test_precision_recall_and_f1_of_a_thousand_corpora(wrong):
    metrics = pytest.importorskip("seqeval.metrics")
    rng = random.Random(int(wrong * 10))
    for case in range(250):
        tags = BIOES if case % 2 else BIO
        gold = random_sequences(tags, rng.randint(1, 4), case)
        found = [[rng.choice(tags) if rng.random() < wrong else tag for tag in one] for one in gold]
        if case % 10 == 0:
            found = [["O"] * len(one) for one in found]  # nothing found
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a precision of nothing is 0
            expected = [
                metric(gold, found)
                for metric in (metrics.f1_score, metrics.precision_score, metrics.recall_score)
            ]
        np.testing.assert_allclose(f1_precision_recall(zip(gold, found)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("tag", ["", "NNP", "B", "B-", "o", "U-PER", "B_PER", "-PER", "-"])
def test_what_is_no_tag_of_an_entity(tag):
    assert not TAG.fullmatch(tag)
