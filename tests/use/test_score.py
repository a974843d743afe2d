# SPDX-License-Identifier: Apache-2.0
"""Measures of a language model against sums over prefixes read one at a time."""

import json
import math

import jax
import numpy as np
import pytest

from ssl_jax.types import UserError
from ssl_jax.use import score as S
from ssl_jax.use import sources
from ssl_jax.use.likelihood import Reader
from tests.use.conftest import LINES

TEXTS = [LINES[1] * 2, "", LINES[2], "a", LINES[0]]
LIMIT = 40  # positions of the model


@jax.jit
def logits(model, tokens, segments):
    return model.heads["lm"](model.encode(tokens, segments), model.trunk.table)[0]


def log_p(model, tokenizer, ids: list[int], before: int) -> tuple[float, bool]:
    """Of the last of ids given the `before` ids ahead of it, and whether it is the likeliest."""
    seen = ids[-1 - before : -1]
    tokens = np.zeros((1, LIMIT), np.int32)
    tokens[0, : len(seen)] = seen
    segments = (np.arange(LIMIT) < len(seen)).astype(np.int32)[None]
    row = np.asarray(logits(model, tokens, segments))[len(seen) - 1, : tokenizer.vocab_size].astype(
        np.float64
    )
    return float(row[ids[-1]] - np.logaddexp.reduce(row)), int(row.argmax()) == ids[-1]


@pytest.fixture(scope="module")
def model(model_of):
    return model_of("gpt2")


@pytest.fixture(scope="module")
def reader(model, tokenizer):
    return Reader(model, tokenizer)


@pytest.mark.parametrize(("window", "stride"), [(None, None), (12, 5), (8, 8), (10, 1)])
def test_perplexity_equals_brute_force(model, reader, tokenizer, window, stride):
    found = S.perplexity(reader, tokenizer, TEXTS, window=window, stride=stride)
    window, stride = window or LIMIT, stride or LIMIT // 2
    nats = tokens = 0
    for text in TEXTS:
        ids = [tokenizer.specials.bos, *tokenizer.encode(text).tolist()]
        for i in range(1, len(ids)):
            # The first window [begin, begin + window) of inputs that has the token before it.
            begin = next(b for b in range(0, len(ids), stride) if i - 1 < b + window)
            nats -= log_p(model, tokenizer, ids[: i + 1], i - begin)[0]
            tokens += 1
        assert text != TEXTS[0] or len(ids) > LIMIT + 1
    assert (found.documents, found.tokens) == (4, tokens)
    assert found.bytes == sum(len(text.encode()) for text in TEXTS)
    assert found.nats == pytest.approx(nats, rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(nats / tokens), rel=1e-4)
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / found.bytes, rel=1e-5)


def test_windows_that_do_not_fit_are_one_line(reader, tokenizer):
    for window, stride in ((41, 4), (8, 9), (8, 0)):
        with pytest.raises(UserError, match="40 positions"):
            S.perplexity(reader, tokenizer, TEXTS, window=window, stride=stride)
    with pytest.raises(UserError, match="no text"):
        S.perplexity(reader, tokenizer, ["", " "])


def continued(model, tokenizer, context: str, rest: str) -> list[tuple[float, bool]]:
    before = 1 + len(tokenizer.encode(context))
    ids = [tokenizer.specials.bos, *tokenizer.encode(context + rest).tolist()]
    return [log_p(model, tokenizer, ids[: i + 1], i) for i in range(before, len(ids))]


def test_last_words(model, reader, tokenizer):
    texts = ["The dog sat on the mat", "a list of names", "Once upon a time there was a list.\n"]
    expected = []
    for text in texts:
        context, word = text.strip().rsplit(" ", 1)
        expected.append(continued(model, tokenizer, context, " " + word))
    found = S.last_words(reader, tokenizer, texts)
    hits = [all(hit for _, hit in row) for row in expected]
    nats = [-sum(p for p, _ in row) for row in expected]
    assert found["accuracy"] == np.mean(hits) and found["texts"] == 3
    assert found["perplexity"] == pytest.approx(math.exp(np.mean(nats)), rel=1e-4)


def test_a_last_word_that_the_model_would_say_counts(model, reader, tokenizer, monkeypatch):
    """The likeliest tokens themselves, as a word, in place of words that an untrained model never guesses."""
    request = S.last_word(reader, tokenizer, "The dog sat")
    ids = request.ids.copy()
    for i in range(request.start, len(ids)):
        tokens = np.zeros((1, LIMIT), np.int32)
        tokens[0, :i] = ids[:i]
        segments = (np.arange(LIMIT) < i).astype(np.int32)[None]
        ids[i] = np.asarray(logits(model, tokens, segments))[i - 1, : tokenizer.vocab_size].argmax()
    monkeypatch.setattr(S, "last_word", lambda *_: request._replace(ids=ids))
    assert S.last_words(reader, tokenizer, ["The dog sat"])["accuracy"] == 1.0


def test_multiple_choice(model, reader, tokenizer):
    questions = [
        S.Choice("The dog sat on", ("the mat", "a reference to a value and a list of names"), 0),
        S.Choice("床前", ("明月光", "思故鄉，低頭思故鄉"), 1),
        S.Choice("", ("The cat", "a"), 1),
    ]
    raw, normalised = [], []
    for context, choices, answer in questions:
        sums = []
        for choice in choices:
            rest = f" {choice}" if context.isascii() and context else choice
            sums.append(sum(p for p, _ in continued(model, tokenizer, context, rest)))
        raw.append(np.argmax(sums) == answer)
        normalised.append(np.argmax([s / len(c.encode()) for s, c in zip(sums, choices)]) == answer)
    found = S.multiple_choice(reader, tokenizer, questions)
    expected = {"accuracy": np.mean(raw), "accuracy_normalised": np.mean(normalised), "questions": 3}
    assert found == expected
    assert [S.choice_of(q._asdict() | {"answer": q.choices[q.answer]}, "") for q in questions] == questions


def test_a_long_context_loses_its_beginning(model, reader, tokenizer):
    """And keeps as many tokens as the model has positions."""
    (request,) = [S.continued(reader, tokenizer, "The dog " * 40 + "sat on", " the mat")]
    whole = tokenizer.encode("The dog " * 40 + "sat on the mat")
    assert request.ids.tolist() == whole[-LIMIT - 1 :].tolist()
    assert whole[-(len(request.ids) - request.start) :].tolist() == tokenizer.encode("the mat").tolist()
    with pytest.raises(UserError, match="40 positions"):
        S.continued(reader, tokenizer, "The", " dog" * 50)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({"choices": ["a", "b"], "answer": 0}, "no field 'context'"),
        ({"context": "", "choices": ["a"], "answer": 0}, "two texts"),
        ({"context": "", "choices": ["a", "b"], "answer": 2}, "number from 0"),
        ({"context": "", "choices": ["a", "b"], "answer": "c"}, "number from 0"),
    ],
)
def test_a_bad_question_is_named_with_file_and_row(value, what):
    with pytest.raises(UserError, match=f"f.jsonl: line 3: .*{what}"):
        S.choice_of(value, "f.jsonl: line 3")


def test_a_text_of_one_word_has_no_last_one(reader, tokenizer):
    with pytest.raises(UserError, match="white space"):
        S.last_words(reader, tokenizer, ["床前明月光"])


def test_questions_of_files_and_of_tfds_are_the_same(tmp_path, monkeypatch):
    """TFDS hands out bytes, numbers of numpy and arrays of objects."""
    rows = [("The dog", ("sat", "ran"), 1), ("a list", ("of names", "is", "a"), 0)]
    as_tfds = [
        {
            "context": c.encode(),
            "choices": np.array([o.encode() for o in options], object),
            "answer": np.int64(a),
        }
        for c, options, a in rows
    ]
    monkeypatch.setattr(sources, "data_source", lambda *which: (as_tfds, which))
    (tmp_path / "q.jsonl").write_text(
        "".join(
            json.dumps({"context": c, "choices": options, "answer": options[a]}) + "\n"
            for c, options, a in rows
        )
    )
    expected = [S.Choice(*row) for row in rows]
    assert list(sources.questions("tfds:set/config:test")) == expected
    assert list(sources.questions(str(tmp_path / "*.jsonl"))) == expected
    as_tfds[1]["answer"] = np.int64(7)
    with pytest.raises(UserError, match=r"tfds:set/config:test: example 1: .*number from 0"):
        list(sources.questions("tfds:set/config:test"))
