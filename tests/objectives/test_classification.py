# SPDX-License-Identifier: Apache-2.0
"""Classification beyond the contract: how a row looks, which vector is read, and what can't change it."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ssl_jax import nn, parallel
from ssl_jax.data import Labelled
from ssl_jax.models import GptConfig
from ssl_jax.objectives import Classification, Read
from ssl_jax.objectives.classification import read_vector, sides
from ssl_jax.tasks.base import Predicted
from ssl_jax.tasks.columns import Columns
from ssl_jax.tasks.metrics import Measure
from ssl_jax.types import Row, UserError
from tests.objectives.cases import CLASSIFICATION, NAMES, REGRESSION, VOCAB
from tests.objectives.conformance import QUICK
from tests.objectives.fakes import BOS, CLS, PAD, SEP, meta, part

CASES = {"classification": CLASSIFICATION, "regression": REGRESSION}


@pytest.mark.parametrize("read", [Read.POOLER, Read.FIRST])
def test_a_decoder_is_not_read_where_it_sees_no_text(read):
    """It was trained, and said the same of every text."""
    bound = Classification(plan=Labelled(length=16), read=read).bind(meta(VOCAB, labels=NAMES))
    trunk = GptConfig(num_layers=1, dim=16, num_heads=2, max_positions=16).bind(bound.meta).build(nnx.Rngs(0))
    with pytest.raises(UserError, match=r"--set objective\.read=LAST"):
        bound.heads(trunk, nnx.Rngs(0))


def test_a_pair_and_a_single_text_as_bert_reads_them():
    rng = np.random.default_rng(0)
    a, b = part(rng, 3), part(rng, 2)
    bound = Classification(plan=Labelled(length=10)).bind(meta(VOCAB, labels=NAMES))
    pair = bound.example(Row(0, (a, b), label="yes"), rng)
    np.testing.assert_array_equal(pair["tokens"], [CLS, *a.tokens, SEP, *b.tokens, SEP, PAD, PAD])
    np.testing.assert_array_equal(pair["types"], [0] * 5 + [1] * 3 + [0] * 2)
    np.testing.assert_array_equal(pair["segments"], [1] * 8 + [0] * 2)
    assert (pair["label"], pair["weight"]) == (2, 1.0)
    single = bound.example(Row(1, (a,)), rng)
    np.testing.assert_array_equal(single["tokens"], [CLS, *a.tokens, SEP, *[PAD] * 5])
    assert not single["types"].any() and single["weight"] == 0.0  # a label that isn't known counts nowhere
    last = REGRESSION.bound.example(Row(0, (a,), label=1.5), rng)
    assert last["tokens"][0] == BOS and last["label"] == np.float32(1.5)


def test_the_vector_that_is_read():
    states = jnp.asarray(np.random.default_rng(1).normal(size=(3, 4, 2)).astype(np.float32))
    segments = jnp.asarray(np.array([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]], np.int32))
    x = np.asarray(states)
    np.testing.assert_array_equal(read_vector(states, segments, Read.FIRST), x[:, 0])
    np.testing.assert_array_equal(read_vector(states, segments, Read.LAST)[:2], [x[0, 2], x[1, 0]])
    mean = read_vector(states, segments, Read.MEAN)
    np.testing.assert_allclose(mean, [x[0, :3].mean(0), x[1, 0], [0, 0]], rtol=1e-6)


def test_the_two_sides_of_a_pair():
    x = np.random.default_rng(1).normal(size=(2, 5, 2)).astype(np.float32)
    real = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], bool)
    types = np.array([[0, 0, 1, 1, 0], [0, 0, 0, 0, 0]], np.int32)
    u = np.stack([x[0, :2].mean(0), x[1, :2].mean(0)])
    v = np.stack([x[0, 2:4].mean(0), np.zeros(2)])
    expected = np.concatenate([u, v, np.abs(u - v), u * v], axis=1)
    np.testing.assert_allclose(
        sides(jnp.asarray(x), jnp.asarray(real), jnp.asarray(types)), expected, rtol=1e-6
    )


def test_two_sides_need_two_texts():
    bound = dataclasses.replace(meta(VOCAB, labels=NAMES), texts=1)
    with pytest.raises(UserError, match=r"SIDES compares two texts, but an example of this task has one"):
        Classification(plan=Labelled(length=16), read=Read.SIDES).bind(bound)


def test_class_weights_weigh_the_loss_and_not_the_accuracy():
    terms, outputs = CLASSIFICATION.forward(CLASSIFICATION.born[1], CLASSIFICATION.batch)
    labels, weight = CLASSIFICATION.batch["label"], CLASSIFICATION.batch["weight"]
    logits = np.asarray(outputs["logits"], np.float64)
    nll = np.log(np.exp(logits).sum(1)) - logits[np.arange(8), labels]
    np.testing.assert_allclose(terms["nll"].total[:, 0], nll * weight, rtol=1e-4, atol=1e-6)
    assert sorted(set(weight)) == [0.0, 0.5, 1.0, 3.0]
    np.testing.assert_array_equal(terms["accuracy"].total, (logits.argmax(1) == labels) & (weight > 0))
    np.testing.assert_array_equal(terms["accuracy"].weight, weight > 0)


@pytest.mark.parametrize(
    ("kwargs", "labels", "said"),
    [
        ({}, (), "needs two classes or more; the task has none"),
        ({}, ("yes",), "needs two classes or more"),
        (
            {"regression": True},
            NAMES,
            "regression is for numbers, but the task has the classes no, perhaps, yes",
        ),
        ({"class_weights": (1.0, 2.0)}, NAMES, "class_weights has 2 numbers for 3 classes"),
        ({"read": Read.LAST}, NAMES, "the tokenizer has no eos"),
    ],
)
def test_what_does_not_fit_together(kwargs, labels, said):
    objective = Classification(plan=Labelled(length=16), **kwargs)
    with pytest.raises(UserError, match=said):
        objective.bind(meta(VOCAB, labels=labels))


# ------------------------------------------------- batch size, padding and devices change no answer


def logits(case, rows, *, length=None, **axes):
    """[len(rows), C] of the case's model at birth, as one batch, on a mesh."""
    bound = case.bound
    if length is not None:
        bound = dataclasses.replace(bound, plan=Labelled(length=length))
    rng = np.random.default_rng(0)
    examples = [bound.example(row, rng) for row in rows]
    batch = {name: np.stack([e[name] for e in examples]) for name in examples[0]}
    graphdef, params = case.born
    mesh, rules = (
        parallel.MeshConfig(**axes).make(jax.devices()[: math.prod(axes.values())]),
        parallel.Rules(),
    )
    of_params = parallel.shardings(parallel.axes_of(nn.merge(graphdef, params)), params, mesh, rules)
    predict = jax.jit(
        lambda params, batch: bound.predict(nn.merge(graphdef, params), batch)["logits"],
        in_shardings=(of_params, parallel.batch_sharding(mesh)),
        compiler_options=QUICK,
    )
    with parallel.use(mesh, rules):
        return np.asarray(predict(jax.device_put(params, of_params), batch))


def short(one):
    """Two of them fit into either length."""
    return dataclasses.replace(one, tokens=one.tokens[:8], word_starts=one.word_starts[:8])


@pytest.mark.parametrize("name", CASES)
def test_logits_do_not_depend_on_batch_size_padding_or_devices(name):
    case = CASES[name]
    rows = [dataclasses.replace(row, parts=tuple(map(short, row.parts))) for row in case.rows]
    whole = logits(case, rows, data=1)
    assert np.ptp(whole) > 1e-3
    others = {
        "one at a time": np.concatenate([logits(case, [row], data=1) for row in rows]),
        "less padding": logits(case, rows, length=20, data=1),
        "8 devices": logits(case, rows, data=8),
        "sharded": logits(case, rows, data=2, fsdp=2, tensor=2),
    }
    scores, exact = score(case, whole), 0.0 if case.meta.labels else 1e-5
    for way, each in others.items():
        np.testing.assert_allclose(each, whole, rtol=0, atol=1e-5, err_msg=way)
        assert score(case, each) == pytest.approx(scores, rel=0, abs=exact), way


def score(case, logits):
    """A task's own metrics."""
    labels = case.meta.labels
    true = [NAMES[i % 3] for i in range(8)] if labels else np.arange(8.0)
    rows = [Row(i, (), label) for i, label in enumerate(true)]
    task = Columns() if labels else Columns(measures=(Measure.PEARSON, Measure.SPEARMAN))
    return task.score({"heldout": Predicted(rows, {"logits": logits})}, labels)
