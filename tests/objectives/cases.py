# SPDX-License-Identifier: Apache-2.0
"""One small case of each objective."""

import math
from dataclasses import replace

from ssl_jax.data import Labelled
from ssl_jax.data.plan_chunks import Chunks
from ssl_jax.data.plan_packed import Packed
from ssl_jax.data.plan_pairs import Pairs
from ssl_jax.data.plan_tags import Tagged
from ssl_jax.data.plan_windows import Windows
from ssl_jax.models import BertConfig, GptConfig
from ssl_jax.objectives import (
    BertPretraining,
    Classification,
    MaskedLm,
    Masking,
    MaskUnit,
    NextToken,
    Read,
    SpanPrediction,
    Tagging,
)
from ssl_jax.types import Row, Specials
from tests.objectives.conformance import Case
from tests.objectives.fakes import (
    BOS,
    PAD,
    SEP,
    TAGS,
    UNK,
    chunk_rows,
    meta,
    packed_rows,
    pair_rows,
    span_rows,
    tag_rows,
)

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
NAMES = ("no", "perhaps", "yes")


def labelled(labels: tuple[object, ...]) -> list[Row]:
    """Pairs and single texts; label None is not known."""
    rows = zip(pair_rows(LENGTH, ROWS), labels, strict=True)
    return [replace(row, parts=row.parts[: 1 + row.id % 2], label=label) for row, label in rows]


CLASSIFICATION = Case(
    Classification(plan=Labelled(length=LENGTH), class_weights=(1.0, 3.0, 0.5)),
    labelled(("no", "yes", None, "perhaps", "no", None, "no", "yes")),
    meta(VOCAB, labels=NAMES),
    BertConfig(**SMALL),
    {"nll": math.log(3)},
)
REGRESSION = Case(  # of a decoder's last position
    Classification(plan=Labelled(length=LENGTH), read=Read.LAST, regression=True),
    labelled((3.0, -3.0, None, 2.5, -2.0, 4.0, None, -3.5)),
    meta(VOCAB, specials=Specials(pad=PAD, unk=UNK, bos=BOS, eos=SEP)),
    GptConfig(**SMALL),
    {"mse": (9 + 9 + 6.25 + 4 + 16 + 12.25) / 6},
)
COMPARISON = Case(  # a number of the two sides of a pair
    Classification(plan=Labelled(length=LENGTH), read=Read.SIDES, regression=True),
    labelled((3.0, -3.0, None, 2.5, -2.0, 4.0, None, -3.5)),
    meta(VOCAB),
    BertConfig(**SMALL),
    {"mse": (9 + 9 + 6.25 + 4 + 16 + 12.25) / 6},
)
CASES = {
    "classification": CLASSIFICATION,
    "comparison": COMPARISON,
    "regression": REGRESSION,
    "bert": BERT,
    "masked_lm": MASKED_LM,
    "next_token": NEXT_TOKEN,
    "spans": SPANS,
    "tagging": TAGGING,
}
