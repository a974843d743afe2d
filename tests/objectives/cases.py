# SPDX-License-Identifier: Apache-2.0
"""One small case of each objective."""

import math

from ssl_jax.data.plan_chunks import Chunks
from ssl_jax.data.plan_packed import Packed
from ssl_jax.data.plan_pairs import Pairs
from ssl_jax.data.plan_tags import Tagged
from ssl_jax.data.plan_windows import Windows
from ssl_jax.models import BertConfig, GptConfig
from ssl_jax.objectives import (
    BertPretraining,
    MaskedLm,
    Masking,
    MaskUnit,
    NextToken,
    SpanPrediction,
    Tagging,
)
from tests.objectives.conformance import Case
from tests.objectives.fakes import TAGS, chunk_rows, meta, packed_rows, pair_rows, span_rows, tag_rows

LENGTH, VOCAB, ROWS = 32, 60, 8
SMALL = dict(num_layers=1, dim=16, num_heads=2, max_positions=LENGTH, dropout=0.1)
GUESS = math.log(VOCAB)

BERT = Case(
    BertPretraining(plan=Pairs(length=LENGTH)),
    pair_rows(LENGTH, ROWS),
    meta(VOCAB),
    BertConfig(**SMALL),
    {"mlm": GUESS, "nsp": math.log(2)},
)
MASKED_LM = Case(
    MaskedLm(plan=Packed(length=LENGTH), masking=Masking(rate=0.5, unit=MaskUnit.SPAN)),
    packed_rows(LENGTH, ROWS),
    meta(VOCAB),
    BertConfig(**SMALL),
    {"mlm": GUESS},
)
NEXT_TOKEN = Case(
    NextToken(plan=Chunks(length=LENGTH)),
    chunk_rows(LENGTH, ROWS),
    meta(VOCAB),
    GptConfig(**SMALL),
    {"lm": GUESS},
)
SPANS = Case(
    SpanPrediction(plan=Windows(length=LENGTH, question=8)),
    span_rows(LENGTH, ROWS),
    meta(VOCAB),
    BertConfig(**SMALL),
    {"nll": math.log(LENGTH - 1)},
)
TAGGING = Case(
    Tagging(plan=Tagged(length=LENGTH)),
    tag_rows(LENGTH, ROWS),
    meta(VOCAB, labels=TAGS),
    BertConfig(**SMALL),
    {"nll": math.log(len(TAGS))},
)
CASES = {
    "bert": BERT,
    "masked_lm": MASKED_LM,
    "next_token": NEXT_TOKEN,
    "spans": SPANS,
    "tagging": TAGGING,
}
