# SPDX-License-Identifier: Apache-2.0
"""predict: what a model says of texts is what it says of rows laid out by hand as its papers have them."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data import Labelled, Pairs
from ssl_jax.objectives import BertPretraining, Classification, MaskedLm, Read
from ssl_jax.text import Text
from ssl_jax.types import UserError
from ssl_jax.use.inputs import Line
from ssl_jax.use.predict import Follows, Labels, Number, Predictor, as_json
from tests.models.tiny import BERT, GPT
from tests.use.made import LABELS, made

PAIRS = [
    ("The dog sat", "on the mat"),
    ("a", "Once upon a time there was a list of names"),
    ("床前", "明月光"),
]
SINGLES = [("The cat",), ("a list of names, and a name is a reference to a value",)]
LENGTH = 14
TEXT = Text(tokenizer=None)


def laid_out(tokenizer, texts, opening, closing):
    """(tokens, types, segments) [1, LENGTH], the longer text cut from its end until both fit."""
    ids = [tokenizer.encode(text).tolist() for text in texts]
    while sum(map(len, ids)) + len(ids) + 1 > LENGTH:
        max(reversed(ids), key=len).pop()
    row, types = [opening], [0]
    for number, one in enumerate(ids):
        row += [*one, closing]
        types += [number] * (len(one) + 1)
    pad = lambda x, value: jnp.array([x + [value] * (LENGTH - len(x))], jnp.int32)
    return pad(row, tokenizer.specials.pad), pad(types, 0), pad([1] * len(row), 0), len(row)


def of(*which):
    loaded = made(*which)
    return loaded.objective, loaded.model


@jax.jit
def encode(model, ids, segments, types):
    return model.encode(ids, segments, types)


def softmax(x):
    return np.exp(x - np.logaddexp.reduce(x))


def lines(items):
    return [Line("", texts) for texts in items]


def test_probabilities_of_labels(tokenizer):
    """Of single texts and pairs in one call, in order, whatever the batch; and which were cut."""
    objective, model = of(Classification(plan=Labelled(length=LENGTH)), BERT, tokenizer)
    items = [*PAIRS, *SINGLES]
    small, large = (list(Predictor(model, objective, TEXT, size)(lines(items))) for size in (2, 8))
    for texts, mine, other in zip(items, small, large, strict=True):
        ids, types, segments, used = laid_out(
            tokenizer, texts, tokenizer.specials.cls, tokenizer.specials.sep
        )
        states = encode(model, ids, segments, types)
        expected = softmax(np.asarray(model.heads["classifier"](model.heads["pooler"](states)))[0])
        assert isinstance(mine, Labels) and tuple(mine.probabilities) == LABELS
        np.testing.assert_allclose(list(mine.probabilities.values()), expected, atol=1e-5)
        np.testing.assert_allclose(list(other.probabilities.values()), expected, atol=1e-5)
        assert mine.label == LABELS[expected.argmax()]
        whole = sum(len(tokenizer.encode(text)) for text in texts) + len(texts) + 1
        assert mine.cut == (whole > LENGTH) and used <= LENGTH
    assert {mine.cut for mine in small} == {True, False}


def test_a_number_read_from_the_last_position(tokenizer):
    config = dataclasses.replace(GPT, max_positions=LENGTH)
    objective = Classification(plan=Labelled(length=LENGTH), read=Read.LAST, regression=True)
    objective, model = of(objective, config, tokenizer)
    for texts, mine in zip(SINGLES, Predictor(model, objective, TEXT)(lines(SINGLES)), strict=True):
        ids, types, segments, used = laid_out(
            tokenizer, texts, tokenizer.specials.bos, tokenizer.specials.eos
        )
        expected = model.heads["classifier"](encode(model, ids, segments, types)[:, used - 1])
        assert isinstance(mine, Number) and mine.value == pytest.approx(float(expected[0, 0]), rel=1e-4)


def test_whether_b_follows_a(tokenizer):
    objective, model = of(BertPretraining(plan=Pairs(length=LENGTH)), BERT, tokenizer)
    for texts, mine in zip(PAIRS, Predictor(model, objective, TEXT)(lines(PAIRS)), strict=True):
        ids, types, segments, _ = laid_out(tokenizer, texts, tokenizer.specials.cls, tokenizer.specials.sep)
        states = encode(model, ids, segments, types)
        logits = np.asarray(model.heads["nsp"](model.heads["pooler"](states)))[0]
        assert isinstance(mine, Follows) and mine.probability == pytest.approx(softmax(logits)[0], rel=1e-4)
    said = as_json(lines(PAIRS)[-1], mine)
    assert json.loads(json.dumps(said)) == {
        "texts": list(PAIRS[-1]),
        "probability": mine.probability,
        "cut": False,
    }
    with pytest.raises(UserError, match=r"^f: line 2: this MODEL reads a pair of sentences; 1 text given"):
        list(Predictor(model, objective, TEXT)([Line("f: line 2", ("one",))]))
    with pytest.raises(UserError, match="empty"):
        list(Predictor(model, objective, TEXT)([Line("", ("one", " "))]))


def test_a_model_without_such_a_head_says_what_fits(tokenizer):
    for objective in (MaskedLm(), None):
        with pytest.raises(UserError, match="ssl-jax fill-mask, generate or embed"):
            Predictor(None, objective, TEXT)
