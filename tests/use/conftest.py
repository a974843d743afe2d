# SPDX-License-Identifier: Apache-2.0
"""A tokenizer of several scripts and tiny models over it, with weights drawn from fixed seeds."""

import dataclasses
import functools

import pytest

from ssl_jax import nn, text
from ssl_jax.objectives import BertPretraining, NextToken
from tests.models.tiny import FAMILIES
from tests.use.made import made

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

    @functools.cache
    def make(name: str, **changes) -> nn.Model:
        config = dataclasses.replace(FAMILIES[name].config, **changes)
        objective = NextToken() if FAMILIES[name].head == "lm" else BertPretraining()
        return made(objective, config, tokenizer, spread=0.5).model

    return make
