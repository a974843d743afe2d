# SPDX-License-Identifier: Apache-2.0
"""BertPretraining: rows as the paper draws them, the loss against plain numpy, what people read."""

import dataclasses

import jax
import numpy as np
import pytest

from ssl_jax import nn
from ssl_jax.data.plan_pairs import Pairs
from ssl_jax.objectives import BertPretraining, Masking, MaskUnit, masked_logits
from ssl_jax.types import Meta, Part, Row, Specials, UserError
from tests.objectives.cases import BERT, VOCAB
from tests.objectives.fakes import BOS, CLS, MASK, PAD, SEP, FakeTokenizer, meta


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_a_row_is_laid_out_as_in_the_paper():
    first, second = np.arange(10, 15, dtype=np.int32), np.arange(30, 33, dtype=np.int32)
    row = Row(0, (Part(0, 0, first, np.ones(5, bool)), Part(4, 2, second, np.ones(3, bool))), label=1)
    objective = BertPretraining(plan=Pairs(length=16), masking=Masking(mask=0.0, random=0.0)).bind(meta())
    example = objective.example(row, np.random.default_rng(0))
    assert example["tokens"].tolist() == [CLS, *first, SEP, *second, SEP, *[PAD] * 5]
    assert example["types"].tolist() == [0] * 7 + [1] * 4 + [0] * 5
    assert example["segments"].tolist() == [1] * 11 + [0] * 5
    assert example["is_random"] == 1
    assert example["weights"].sum() == 1  # 15 % of 8 tokens of text
    assert example["targets"][0] == example["tokens"][example["where"][0]]


def test_loss_against_plain_numpy():
    """Means over all masked positions and all rows, from the logits, in float64 over the true vocabulary."""
    case = BERT
    _, params = case.born
    params = jax.tree.map(lambda x: x * 8, params)  # far from a guess, and the padded entries not zero
    batch = case.batch

    @jax.jit
    def logits_of(params, batch):
        model = nn.merge(case.born[0], params)
        return masked_logits(model, batch, model.encode(batch["tokens"], batch["segments"], batch["types"]))

    logits = np.asarray(logits_of(params, batch))
    assert logits.shape[:2] == batch["where"].shape and logits.shape[-1] == 128 > VOCAB

    terms, outputs = case.forward(params, batch)
    means = {name: float(mean.total.sum() / mean.weight.sum()) for name, mean in terms.items()}
    nll, hits, count = 0.0, 0, 0
    for b in range(8):
        for k in range(batch["where"].shape[1]):
            if batch["weights"][b, k]:
                scores = logits[b, k, :VOCAB]
                nll -= log_softmax(scores)[batch["targets"][b, k]]
                hits += scores.argmax() == batch["targets"][b, k]
                count += 1
    assert np.ptp(batch["weights"].sum(1)) > 0, "rows of unequal mask counts"
    np.testing.assert_allclose(means["mlm"], nll / count, rtol=1e-5)
    np.testing.assert_allclose(means["mlm_accuracy"], hits / count, rtol=1e-6)

    nsp = np.asarray(outputs["nsp_logits"])
    labels = batch["is_random"]
    np.testing.assert_allclose(means["nsp"], -log_softmax(nsp)[np.arange(8), labels].mean(), rtol=1e-5)
    np.testing.assert_allclose(means["nsp_accuracy"], (nsp.argmax(-1) == labels).mean())
    np.testing.assert_allclose(means["filled"], (batch["segments"] > 0).mean())
    assert {name: mean.coef for name, mean in terms.items()} == {
        "mlm": 1.0,
        "nsp": 1.0,
        "mlm_accuracy": 0.0,
        "nsp_accuracy": 0.0,
        "filled": 0.0,
    }


def test_token_zero_can_be_a_target():
    """Weights say which slots count; a target's id never does."""
    bound = BertPretraining(plan=Pairs(length=16)).bind(
        meta(specials=Specials(pad=BOS, cls=CLS, sep=SEP, mask=MASK, bos=BOS))
    )
    zeros = np.zeros(6, np.int32)
    parts = (Part(0, 0, zeros, np.ones(6, bool)), Part(1, 0, zeros, np.ones(6, bool)))
    example = bound.example(Row(0, parts, label=0), np.random.default_rng(0))
    assert example["weights"].sum() == 2 and not example["targets"].any()


def readable(words: tuple[str, ...], split: int, masking: Masking, label: int = 0) -> str:
    bound = BertPretraining(plan=Pairs(length=32), masking=masking).bind(meta(VOCAB, words=words))
    ids = np.array([bound.meta.tokenizer.id(w) for w in words], np.int32)
    starts = np.array([w.startswith("▁") for w in words])
    parts = (Part(0, 0, ids[:split], starts[:split]), Part(0, split, ids[split:], starts[split:]))
    return bound.show(bound.example(Row(0, parts, label=label), np.random.default_rng(2)))


ENGLISH = ("▁The", "▁small", "▁dog", "▁bark", "ed", ".", "▁Then", "▁it", "▁ran", "▁away", "!")
CHINESE = tuple("床前明月光疑是地上霜")


def test_show_of_unmasked_text_reads_as_it_was_written():
    shown = readable(ENGLISH, 6, Masking(mask=0.0, random=0.0)).splitlines()
    plain = [line.replace("⟦kept: ", "").replace("⟧", "") for line in shown]
    assert plain[0] == "A: [CLS] The small dog barked. [SEP]"
    assert plain[1] == "B: Then it ran away! [SEP]"
    assert shown[2] == "label: B follows A"
    assert "2 of 14 tokens hidden: 0 mask, 0 random, 2 kept; 18 of 32 positions are padding" in shown[3]


def test_show_marks_what_is_hidden():
    assert "⟦mask: bark⟧⟦mask: ed⟧" in readable(ENGLISH, 6, Masking(rate=1.0, mask=1.0, random=0.0))
    shown = readable(ENGLISH, 6, Masking(rate=0.4, mask=0.0, random=1.0, unit=MaskUnit.WORD), label=1)
    assert "⟦random w" in shown and "label: B is from another document" in shown


def test_show_inserts_no_spaces_into_chinese():
    shown = readable(CHINESE, 5, Masking(mask=1.0, random=0.0)).splitlines()
    assert shown[0].count(" ") - shown[0].count("⟦") == 3, shown[0]  # "A: [CLS] 床...光 [SEP]"
    text = shown[0].replace("⟦mask: ", "").replace("⟧", "")
    assert text == "A: [CLS] 床前明月光 [SEP]"


def test_show_drops_the_spaces_a_wordpiece_decoder_puts_between_ideographs():
    class Decoder(FakeTokenizer):
        def decode(self, ids):
            return " ".join(self._pieces[i] for i in ids).replace(" ##", "")

    words = ("春", "眠", "不", "觉", "，", "dog", "##s", "bark", "晓")
    wordpiece = Meta(tokenizer=Decoder(words=words))
    bound = BertPretraining(plan=Pairs(length=32), masking=Masking(mask=1.0, random=0.0)).bind(wordpiece)
    ids = np.array([wordpiece.tokenizer.id(w) for w in words], np.int32)
    parts = (Part(0, 0, ids, np.ones(9, bool)), Part(0, 9, ids[:5], np.ones(5, bool)))
    shown = bound.show(bound.example(Row(0, parts, label=0), np.random.default_rng(2))).splitlines()
    text = [line.replace("⟦mask: ", "").replace("⟧", "") for line in shown[:2]]
    assert text == ["A: [CLS] 春眠不觉， dogs bark 晓 [SEP]", "B: 春眠不觉， [SEP]"]


@pytest.mark.parametrize("missing", ["mask", "cls", "sep"])
def test_a_tokenizer_without_specials_is_refused(missing):
    specials = dataclasses.replace(meta().tokenizer.specials, **{missing: None})
    with pytest.raises(UserError, match=f"no {missing}: train one"):
        BertPretraining(plan=Pairs(length=32)).bind(meta(specials=specials))


def test_short_rows_no_plan_and_other_plans_are_refused():
    with pytest.raises(UserError, match="length of 8 or more"):
        BertPretraining(plan=Pairs(length=7)).bind(meta())
    with pytest.raises(UserError, match=r"plan=Pairs\(length=128\)"):
        BertPretraining().bind(meta())
    one = Row(0, (Part(0, 0, np.arange(7, 12, dtype=np.int32), np.ones(5, bool)),))
    with pytest.raises(UserError, match="pairs"):
        BertPretraining(plan=Pairs(length=32)).bind(meta()).example(one, np.random.default_rng(0))
