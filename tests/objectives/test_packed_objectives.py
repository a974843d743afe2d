# SPDX-License-Identifier: Apache-2.0
"""MaskedLm and NextToken: how rows are laid out, that documents never meet, what people read."""

import dataclasses

import numpy as np
import pytest

from ssl_jax.data.plan_chunks import Chunks
from ssl_jax.data.plan_packed import Packed
from ssl_jax.objectives import MaskedLm, Masking, NextToken
from ssl_jax.types import Part, Row, UserError
from tests.objectives.cases import MASKED_LM, NEXT_TOKEN
from tests.objectives.fakes import BOS, CLS, PAD, SEP, meta


def tokens(*ids: int) -> np.ndarray:
    return np.array(ids, np.int32)


def run(start: int, *ids: int) -> Part:
    return Part(0, start, tokens(*ids), np.ones(len(ids), bool))


def test_packed_parts_have_their_own_specials_and_segments():
    row = Row(0, (run(0, 10, 11, 12), run(5, 20), run(0, 30, 31)))
    objective = MaskedLm(plan=Packed(length=16), masking=Masking(mask=0.0, random=0.0)).bind(meta())
    example = objective.example(row, np.random.default_rng(0))
    expected = [CLS, 10, 11, 12, SEP, CLS, 20, SEP, CLS, 30, 31, SEP, *[PAD] * 4]
    assert example["tokens"].tolist() == expected
    assert example["segments"].tolist() == [1] * 5 + [2] * 3 + [3] * 4 + [0] * 4


def test_a_chunk_reads_the_stream_and_predicts_one_further():
    row = Row(0, (run(7, 10, 11), run(-1, 20, 21, 22), run(-1, 30, 31)))
    example = NextToken(plan=Chunks(length=8)).bind(meta()).example(row, np.random.default_rng(0))
    stream = [10, 11, BOS, 20, 21, 22, BOS, 30, 31]
    assert example["tokens"].tolist() == stream[:-1]
    assert example["targets"].tolist() == stream[1:]
    assert example["segments"].tolist() == [1, 1, 2, 2, 2, 2, 3, 3]
    assert example["weights"].tolist() == [1] * 8


def test_the_last_chunk_ends_at_the_closing_bos():
    """Its last document's end is predicted, and nothing behind it."""
    row = Row(0, (run(3, 10, 11, 12), run(-1)))
    example = NextToken(plan=Chunks(length=8)).bind(meta()).example(row, np.random.default_rng(0))
    assert example["tokens"].tolist() == [10, 11, 12, *[PAD] * 5]
    assert example["targets"].tolist() == [11, 12, BOS, *[0] * 5]
    assert example["segments"].tolist() == [1] * 3 + [0] * 5
    assert example["weights"].tolist() == [1] * 3 + [0] * 5


@pytest.mark.parametrize("case", [MASKED_LM, NEXT_TOKEN], ids=["masked_lm", "next_token"])
def test_a_documents_loss_ignores_its_neighbours(case):
    """Other tokens in the first document change no term of any other document."""
    batch = case.batch
    first = batch["segments"] == 1
    rng = np.random.default_rng(0)
    changed = dict(batch)
    changed["tokens"] = np.where(first, rng.integers(7, 60, first.shape), batch["tokens"]).astype(np.int32)
    place = batch.get("where", np.broadcast_to(np.arange(32), (8, 32)))
    elsewhere = np.take_along_axis(batch["segments"], place, axis=1) > 1
    assert (batch["weights"] * elsewhere).sum() > 8
    _, params = case.born
    totals = lambda b: np.asarray(next(m.total for m in case.forward(params, b)[0].values() if m.coef))
    before, after = totals(batch), totals(changed)
    assert np.abs(before - after)[~elsewhere].max() > 1e-3, "the first document did change"
    np.testing.assert_allclose(before[elsewhere], after[elsewhere], rtol=0, atol=1e-6)


def test_show_of_packed_rows_separates_the_parts():
    words = ("▁One", "▁dog", "▁Two", "▁cats", "春", "眠", "不", "觉", "晓")
    bound = MaskedLm(plan=Packed(length=32), masking=Masking(mask=1.0, random=0.0)).bind(meta(words=words))
    ids = [bound.meta.tokenizer.id(w) for w in words]
    shown = bound.show(
        bound.example(
            Row(0, (run(0, *ids[:2]), run(0, *ids[2:4]), run(0, *ids[4:]))), np.random.default_rng(1)
        )
    )
    text = [line.replace("⟦mask: ", "").replace("⟧", "") for line in shown.splitlines()]
    assert text[:3] == [
        "part 1: [CLS] One dog [SEP]",
        "part 2: [CLS] Two cats [SEP]",
        "part 3: [CLS] 春眠不觉晓 [SEP]",
    ]
    assert "1 of 15 tokens hidden: 1 mask" in shown


def test_show_of_chunks_lays_the_shift_open():
    words = ("▁A", "▁dog", "▁barks", "春", "眠", "不", "觉", "晓")
    bound = NextToken(plan=Chunks(length=12)).bind(meta(words=words))
    ids = [bound.meta.tokenizer.id(w) for w in words]
    row = Row(0, (run(3, *ids[:3]), run(-1, *ids[3:]), run(-1)))
    shown = bound.show(bound.example(row, np.random.default_rng(0))).splitlines()
    assert shown[0] == "document 1, positions 0..2, goes on from the row before"
    assert shown[1].split(maxsplit=1) == ["reads:", "A dog barks"]
    assert shown[2].split(maxsplit=1) == ["predicts:", "dog barks [BOS]"]
    assert shown[3].endswith("A → dog  dog → barks  barks → [BOS]")
    assert shown[4] == "document 2, positions 3..8, begins here"
    assert shown[5].split(maxsplit=1) == ["reads:", "[BOS] 春眠不觉晓"]
    assert shown[6].split(maxsplit=1) == ["predicts:", "春眠不觉晓 [BOS]"]
    assert shown[8] == "9 predictions ([BOS] closes a document); 3 of 12 positions are padding"


def test_a_tokenizer_without_bos_is_refused():
    specials = dataclasses.replace(meta().tokenizer.specials, bos=None)
    with pytest.raises(UserError, match="no bos"):
        NextToken(plan=Chunks(length=32)).bind(meta(specials=specials))
