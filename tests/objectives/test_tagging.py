# SPDX-License-Identifier: Apache-2.0
"""Tagging: which positions count, what is predicted of a word, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest

from ssl_jax import nn
from ssl_jax.data import Tagged
from ssl_jax.objectives import Tagging, word_labels
from ssl_jax.types import Part, Row, UserError
from tests.objectives.cases import TAGGING
from tests.objectives.fakes import CLS, PAD, SEP, TAGS, meta

OBJECTIVE = Tagging(plan=Tagged(length=8)).bind(meta(labels=TAGS))
PART = Part(0, 0, np.array([10, 11, 12, 14], np.int32), np.ones(4, bool))
FIELDS = {"first": np.array([0, -1, 3]), "file": "dev.conll", "lines": (5, 6, 7), "sentence": 0}


def example(label):
    return OBJECTIVE.example(Row(0, (PART,), label, FIELDS), np.random.default_rng(0))


def test_the_first_token_of_each_word_carries_its_label():
    got = example(("B-PER", "I-PER", "O"))
    assert got["tokens"].tolist() == [CLS, 10, 11, 12, 14, SEP, PAD, PAD]
    assert got["segments"].tolist() == [1, 1, 1, 1, 1, 1, 0, 0] and not got["types"].any()
    assert got["weights"].tolist() == [0, 1, 0, 0, 1, 0, 0, 0]
    assert [TAGS[got["labels"][i]] for i in (1, 4)] == ["B-PER", "O"]
    assert not example(None)["weights"].any()


def test_what_is_shown():
    shown = OBJECTIVE.show(example(("B-PER", "I-PER", "O")))
    assert shown.splitlines() == ["[CLS] w10w11 w12/B-PER w14/O [SEP]", "2 of 8 positions are padding"]
    assert "labels: unknown" in OBJECTIVE.show(example(None))


def test_the_labels_of_words():
    row = Row(0, (PART,), None, FIELDS)
    predicted = np.array([0, 1, 2, 3, 4, 0, 0, 0])
    assert word_labels(row, predicted, TAGS) == [TAGS[1], None, TAGS[4]]


def test_a_label_that_the_training_side_does_not_know_is_named_with_file_and_row():
    with pytest.raises(UserError, match=r"^dev\.conll: row 6: the label 'B-ORG' is none .*\(B-LOC, B-PER,"):
        example(("B-PER", "B-ORG", "O"))


def test_loss_accuracy_and_prediction_in_plain_numpy():
    case = TAGGING
    graphdef, params = case.born
    terms, outputs = case.forward(params, case.batch)
    logits_of = jax.jit(lambda params, batch: case.bound.logits(nn.merge(graphdef, params), batch))
    logits = np.asarray(logits_of(params, case.batch), np.float64)
    labels, weights = case.batch["labels"], case.batch["weights"]
    shifted = logits - logits.max(-1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    nll = -np.take_along_axis(log_probs, labels[..., None], -1)[..., 0] * weights
    np.testing.assert_allclose(terms["nll"].total, nll, atol=1e-5)
    np.testing.assert_array_equal(terms["nll"].weight, weights)
    np.testing.assert_array_equal(outputs["labels"], logits.argmax(-1))
    hits = (logits.argmax(-1) == labels) * weights
    np.testing.assert_array_equal(terms["accuracy"].total, hits)
    counted = [sum(row.fields["first"] >= 0) for row in case.rows]
    assert weights.sum(1).tolist() == counted


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(plan=None), r"Tagging has no plan: give it one, as in Tagging\(plan=Tagged"),
        (dict(plan=Tagged(length=7)), "7 positions"),
        (dict(labels=("O",)), "two labels or more"),
        (dict(specials=dataclasses.replace(meta().tokenizer.specials, cls=None)), "no cls"),
    ],
)
def test_what_does_not_fit_together(change, said):
    plan = change.pop("plan", Tagged(length=8))
    with pytest.raises(UserError, match=said):
        Tagging(plan=plan).bind(meta(**{"labels": TAGS, **change}))


def test_spec_of_a_row():
    assert {name: s.shape for name, s in OBJECTIVE.spec().items()} == dict.fromkeys(OBJECTIVE.spec(), (8,))
    assert OBJECTIVE.spec()["weights"] == jax.ShapeDtypeStruct((8,), np.float32)
