# SPDX-License-Identifier: Apache-2.0
"""Objectives: what is hidden, and what must be predicted.  One file each; a new one needs no line here."""

from ssl_jax.objectives.bert import BertPretraining
from ssl_jax.objectives.classification import Classification, Read
from ssl_jax.objectives.masked_lm import MaskedLm, masked_logits
from ssl_jax.objectives.masking import Masking, MaskUnit
from ssl_jax.objectives.next_token import NextToken
from ssl_jax.objectives.spans import SpanPrediction
from ssl_jax.objectives.tagging import Tagging, word_labels

__all__ = [
    "BertPretraining",
    "Classification",
    "MaskUnit",
    "MaskedLm",
    "Masking",
    "NextToken",
    "Read",
    "SpanPrediction",
    "Tagging",
    "masked_logits",
    "word_labels",
]
