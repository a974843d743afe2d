# SPDX-License-Identifier: Apache-2.0
"""A tokenizer of several scripts and tiny models over it, with weights drawn from fixed seeds."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from ssl_jax import nn, text
from ssl_jax.types import Meta
from tests.models.tiny import FAMILIES, drawn

LINES = [
    "The dog sat on the mat and the cat sat on the dog.",
    "Once upon a time there was a list of names, and a name is a reference to a value.",
    "床前明月光，疑是地上霜。舉頭望明月，低頭思故鄉。",
    "Größe, naïve café: «Où est-il?» Он сказал: «Да!» 👍🏽",
] * 3


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory) -> text.SpmTokenizer:
    """400 pieces, the bytes among them: half of what an untrained model says is no character."""
    folder = tmp_path_factory.mktemp("tokenizer")
    text.SentencePiece(vocab_size=400).train(LINES, folder)
    return text.load(folder)


@pytest.fixture(scope="session")
def model_of(tokenizer):
    """model_of("gpt2"): a family of tests/models/tiny.py over this vocabulary."""
    meta = Meta(tokenizer=tokenizer)

    @functools.cache
    def make(name: str, **changes) -> nn.Model:
        family = FAMILIES[name]
        config = dataclasses.replace(family.config, **changes).bind(meta)
        static = {}

        def abstract():
            rngs = nnx.Rngs(0)
            trunk = config.build(rngs)
            static["graphdef"], params = nn.split(nn.Model(trunk, family.heads(trunk, rngs)))
            return params

        params = drawn(jax.eval_shape(abstract), spread=0.5)
        return nn.merge(static["graphdef"], jax.tree.map(jnp.asarray, params))

    return make
