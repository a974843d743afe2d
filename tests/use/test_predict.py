# SPDX-License-Identifier: Apache-2.0
"""predict: what a model says of texts is what it says of rows laid out by hand as its papers have them."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data import Labelled, Pairs, Tagged, Windows
from ssl_jax.objectives import (
    BertPretraining,
    Classification,
    MaskedLm,
    Read,
    SpanPrediction,
    Tagging,
)
from ssl_jax.text import Text
from ssl_jax.types import UserError
from ssl_jax.use.inputs import Line
from ssl_jax.use.predict import Predictor
from ssl_jax.use.predictions import Answer, Follows, Labels, Number, Tags, as_json
from tests.models.tiny import BERT, GPT
from tests.use.conftest import LINES
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
    said = as_json(PAIRS[-1], mine)
    assert json.loads(json.dumps(said)) == {
        "texts": list(PAIRS[-1]),
        "probability": mine.probability,
        "cut": False,
    }
    with pytest.raises(UserError, match=r"^f: line 2: this MODEL reads a pair of sentences; 1 text given"):
        list(Predictor(model, objective, TEXT)([Line("f: line 2", ("one",))]))
    with pytest.raises(UserError, match="empty"):
        list(Predictor(model, objective, TEXT)([Line("", ("one", " "))]))


def test_tags_of_words(tokenizer):
    """A sentence longer than a row loses no word; each label is that of the word's first token."""
    objective, model = of(Tagging(plan=Tagged(length=LENGTH)), BERT, tokenizer)
    texts = [("The dog sat",), ("Once upon a time there was a list of names, and a name is a value.",)]
    short, long = Predictor(model, objective, TEXT)(lines(texts))
    ids, types, segments, _ = laid_out(tokenizer, texts[0], tokenizer.specials.cls, tokenizer.specials.sep)
    logits = np.asarray(model.heads["classifier"](encode(model, ids, segments, types)))[0]
    pieces = tokenizer.pieces(ids[0].tolist())
    firsts = [i for i, piece in enumerate(pieces) if piece.startswith("▁")]
    assert isinstance(short, Tags) and short.words == ("The", "dog", "sat")
    assert short.labels == tuple(LABELS[logits[i].argmax()] for i in firsts)
    assert " ".join(long.words) == "Once upon a time there was a list of names , and a name is a value ."
    assert str(short) == " ".join(f"{word}/{label}" for word, label in zip(short.words, short.labels))
    assert not long.cut and len(long.labels) == len(long.words)


def test_an_answer_and_its_distributions(tokenizer):
    """A short context in one window; and a long one, where the answer is the best span of all windows."""
    plan = Windows(length=24, question=5, stride=6)
    objective, model = of(SpanPrediction(plan=plan), BERT, tokenizer)
    question, contexts = "a name", ("The dog sat on the mat", " ".join(LINES[:2]))
    short, long = Predictor(model, objective, TEXT)(lines([(question, context) for context in contexts]))
    for context, found in zip(contexts, (short, long)):
        assert isinstance(found, Answer) and context[found.begin : found.end] == found.text != ""
        assert 0 < found.probability < 1 and not found.cut
        assert sum(place.starts for place in found.tokens) < 1
        assert all(context[p.begin : p.end] == p.text for p in found.tokens if p.end > p.begin)
    row = [tokenizer.specials.cls, *tokenizer.encode(question), tokenizer.specials.sep]
    first = len(row)
    row += [*tokenizer.encode(contexts[0]), tokenizer.specials.sep]
    assert len(row) <= plan.length
    types = [0] * first + [1] * (len(row) - first)
    states = encode(model, *(jnp.array([x], jnp.int32) for x in (row, [1] * len(row), types)))
    starts, ends = (softmax(x) for x in np.asarray(model.heads["span"](states))[0].T)
    np.testing.assert_allclose([p.starts for p in short.tokens], starts[first:-1], atol=1e-5)
    np.testing.assert_allclose([p.ends for p in short.tokens], ends[first:-1], atol=1e-5)
    joint = np.triu(np.outer(starts[first:-1], ends[first:-1]))
    assert short.probability == pytest.approx(joint.max(), rel=1e-4)
    a, b = np.unravel_index(joint.argmax(), joint.shape)
    assert (short.begin, short.end) == (short.tokens[a].begin, short.tokens[b].end)
    json.dumps(as_json((question, contexts[0]), short))


def test_a_model_without_such_a_head_says_what_fits(tokenizer):
    for objective in (MaskedLm(), None):
        with pytest.raises(UserError, match="ssl-jax fill-mask, generate or embed"):
            Predictor(of(MaskedLm(), BERT, tokenizer)[1], objective, TEXT)


def test_an_imported_head_reads_as_long_rows_as_it_has_positions(tokenizer):
    """An import brings no plan; one of that length gives the same."""
    plans = (
        (Classification, Labelled(length=40), PAIRS),
        (Tagging, Tagged(length=40), SINGLES),
        (SpanPrediction, Windows(length=40, question=10), PAIRS),
        (BertPretraining, Pairs(length=40), PAIRS),
    )
    for objective, plan, items in plans:
        imported, model = of(objective(), BERT, tokenizer)
        trained = dataclasses.replace(imported, plan=plan)
        found, expected = (list(Predictor(model, one, TEXT)(lines(items))) for one in (imported, trained))
        assert found == expected and len(found) == len(items)
