# SPDX-License-Identifier: Apache-2.0
"""Every objective keeps DESIGN's contract."""

import math

import pytest

from ssl_jax.data import Chunks, Packed, Pairs
from ssl_jax.models import BertConfig, GptConfig
from ssl_jax.objectives import BertPretraining, MaskedLm, Masking, MaskUnit, NextToken
from tests.objectives.conformance import CHECKS, Case
from tests.objectives.fakes import chunk_rows, meta, packed_rows, pair_rows

LENGTH, VOCAB = 32, 60
SMALL = dict(num_layers=1, dim=16, num_heads=2, max_positions=LENGTH, dropout=0.1)
GUESS = math.log(VOCAB)
CASES = {
    "bert": Case(
        BertPretraining(plan=Pairs(length=LENGTH)),
        pair_rows(LENGTH, 8),
        meta(VOCAB),
        BertConfig(**SMALL),
        {"mlm": GUESS, "nsp": math.log(2)},
    ),
    "masked_lm": Case(
        MaskedLm(plan=Packed(length=LENGTH), masking=Masking(unit=MaskUnit.SPAN)),
        packed_rows(LENGTH, 8),
        meta(VOCAB),
        BertConfig(**SMALL),
        {"mlm": GUESS},
    ),
    "next_token": Case(
        NextToken(plan=Chunks(length=LENGTH)),
        chunk_rows(LENGTH, 8),
        meta(VOCAB),
        GptConfig(**SMALL),
        {"lm": GUESS},
    ),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", CASES)
def test_conformance(name, check):
    check(CASES[name])
