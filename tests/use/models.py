# SPDX-License-Identifier: Apache-2.0
"""A small encoder and a small decoder over a tokenizer of many scripts, for tests of what uses a model."""

import dataclasses
import functools
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from ssl_jax import models, nn, text
from ssl_jax.types import Meta
from tests.models.tiny import drawn
from tests.text.conftest import MANY_SCRIPTS, english

POSITIONS = 40
SIZES = dict(num_layers=2, dim=16, num_heads=2, mlp_dim=32, max_positions=POSITIONS, scan=False)
ENCODER = models.BertConfig(**SIZES, dropout=0.0, attention_dropout=0.0)
DECODER = models.GptConfig(**SIZES, dropout=0.0, attention_dropout=0.0)
BFLOAT16 = dataclasses.replace(ENCODER, compute_dtype="bfloat16")


@functools.cache
def tokenizer() -> text.SpmTokenizer:
    config = text.SentencePiece(vocab_size=500, sample_chars=20_000, character_coverage=0.98)
    with tempfile.TemporaryDirectory() as folder:
        config.train([*(topic[:400] for topic in english()), *MANY_SCRIPTS], Path(folder) / "tokenizer")
        return text.load(Path(folder) / "tokenizer")


@functools.cache
def model(config: models.TextConfig) -> nn.Model:
    """A trunk alone, with weights as large as trained ones."""
    static = {}

    def params():
        trunk = config.bind(Meta(tokenizer=tokenizer())).build(nnx.Rngs(0))
        static["graphdef"], params = nn.split(nn.Model(trunk, {}))
        return params

    weights = jax.tree.map(jnp.asarray, drawn(jax.eval_shape(params)))
    return nn.merge(static["graphdef"], weights)
