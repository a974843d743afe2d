# SPDX-License-Identifier: Apache-2.0
"""SpanPrediction: how a row is laid out, its loss in plain numpy, and how people read it."""

import dataclasses

import numpy as np
import pytest

from ssl_jax.data import Windows
from ssl_jax.data.plan_windows import ELSEWHERE
from ssl_jax.objectives import SpanPrediction
from ssl_jax.types import Meta, Specials, UserError
from tests.data.questions import record, table, tokenizer
from tests.objectives.cases import SPANS
from tests.objectives.fakes import CLS, PAD, SEP, FakeTokenizer


def test_the_layout_of_a_row():
    row = SPANS.rows[0]
    question, context = (part.tokens.tolist() for part in row.parts)
    example = SPANS.example(row)
    real = [CLS, *question, SEP, *context, SEP]
    padding = [0] * (32 - len(real))
    assert example["tokens"].tolist() == real + [PAD] * len(padding)
    assert example["segments"].tolist() == [1] * len(real) + padding
    assert example["types"].tolist() == [0] * (len(question) + 2) + [1] * (len(context) + 1) + padding
    first, last = row.label
    assert example["tokens"][example["start"]] == context[first]
    assert example["tokens"][example["end"]] == context[last]
    assert example["weight"] == 1


def test_no_answer_is_the_first_position_and_an_unknown_one_weighs_nothing():
    null, unknown = SPANS.example(SPANS.rows[3]), SPANS.example(SPANS.rows[-1])
    assert (null["start"], null["end"], null["weight"]) == (0, 0, 1)
    assert (unknown["start"], unknown["end"], unknown["weight"]) == (0, 0, 0)
    elsewhere = SPANS.example(dataclasses.replace(SPANS.rows[0], label=ELSEWHERE))
    assert (elsewhere["start"], elsewhere["end"], elsewhere["weight"]) == (0, 0, 0)


def test_the_loss_in_plain_numpy():
    """Two softmaxes over the positions that aren't padding."""
    terms, outputs = SPANS.forward(SPANS.born[1], SPANS.batch)
    for b, real in enumerate(SPANS.batch["segments"] > 0):
        for i, name in enumerate(("start", "end")):
            logits, target = np.asarray(outputs[name][b], np.float64), SPANS.batch[name][b]
            nll = np.log(np.exp(logits[real]).sum()) - logits[target]
            weight = SPANS.batch["weight"][b]
            np.testing.assert_allclose(terms["nll"].total[b, i], weight * nll, rtol=1e-5)
            assert terms["accuracy"].total[b, i] == weight * (np.argmax(logits[real]) == target)
            assert terms["nll"].weight[b, i] == terms["accuracy"].weight[b, i] == weight


def test_padding_changes_neither_loss_nor_logits():
    """The same rows in a longer length: only padded positions are added."""
    config = dataclasses.replace(SPANS.config, max_positions=48)
    short, long = (
        dataclasses.replace(
            SPANS, config=config, objective=SpanPrediction(plan=Windows(length=length, question=8))
        )
        for length in (32, 48)
    )
    (terms, out), (more, longer_out) = (long.forward(long.born[1], case.batch) for case in (short, long))
    np.testing.assert_allclose(more["nll"].total, terms["nll"].total, rtol=1e-5, atol=1e-6)
    real = short.batch["segments"] > 0
    for name in ("start", "end"):
        np.testing.assert_allclose(longer_out[name][:, :32][real], out[name][real], rtol=1e-5, atol=1e-6)


def shown(context: str, answer: str | None, kind: str, **windows) -> str:
    place = None if answer is None else () if answer == "" else (context.index(answer),) * 2
    if place:
        place = place[0], place[0] + len(answer)
    opened = Windows(**windows).open(table([record(context, place, "x the River?")], kind), 0, shuffle=False)
    objective = SpanPrediction(plan=Windows(**windows)).bind(Meta(tokenizer=tokenizer(kind)))
    return objective.show(objective.example(opened[0], np.random.default_rng(0)))


def test_show_marks_the_answer():
    said = shown("The River flows, 1,000 miles.", "1,000", "sentencepiece", length=64, question=16)
    assert said.splitlines()[:2] == [
        "question: x the River?",
        "window: The River flows, ⟦1,000⟧ miles.",
    ]
    assert "positions are padding" in said
    said = shown("苹果很好 今日は x", "今日は", "sentencepiece", length=64, question=16)
    assert "⟦今日は⟧ x" in said and "answer: 今日は" in said
    assert "not in this window" in shown("the River", "", "wordpiece", length=64, question=16)
    assert "unknown" in shown("the River", None, "wordpiece", length=64, question=16)
    assert "unknown" in shown("x " * 60 + "the", "the", "wordpiece", length=40, question=16, stride=8)


def test_a_tokenizer_without_a_separator():
    meta = Meta(tokenizer=FakeTokenizer(specials=Specials(pad=PAD, cls=CLS)))
    with pytest.raises(UserError, match="no sep"):
        SpanPrediction(plan=Windows()).bind(meta)
